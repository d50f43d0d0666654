"""`clsgen predict --engine ray` beside the same command in one process: seconds from start to end, and the same rows.

    python benchmarks/ray_overhead.py                      # 10,000 short notes; needs an idle machine
    python benchmarks/ray_overhead.py --rows 2500 --runs 1

Both sides are whole commands, start-up and loading included, in turn. Writes docs/benchmarks/ray.json and ray.md when
all 10,000 rows were run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from clsgen.artifacts import write_json_atomic, write_text_atomic
from models import notes_of, quoting_run
from run import machine

FIGURES, PAGE = Path("docs/benchmarks/ray.json"), Path("docs/benchmarks/ray.md")
NUM_ROWS, NUM_RUNS, BAR = 10_000, 3, 1.10
TOLERANCE = 1e-5
"""Contract 7: what a probability may move by with the batch; here the batches are the same."""


def main() -> None:
    """Write the rows, run both sides in turn, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=NUM_ROWS)
    parser.add_argument("--runs", type=int, default=NUM_RUNS)
    parser.add_argument("--model", type=Path, help="a model directory; by default that of serving.py")
    arguments = parser.parse_args()
    model = quoting_run() if arguments.model is None else arguments.model
    with tempfile.TemporaryDirectory() as folder:
        found = measure(model, Path(folder), arguments.rows, arguments.runs)
    print(json.dumps(found, indent=2))
    if arguments.rows == NUM_ROWS and arguments.model is None:
        write_json_atomic(FIGURES, found)
        write_text_atomic(PAGE, page(found))


def measure(model: Path, folder: Path, num_rows: int, num_runs: int) -> dict[str, Any]:
    """Seconds of both sides by run, the ratio of neighbours, and how far the probabilities are apart."""
    source = folder / "in.jsonl"
    with source.open("w", encoding="utf-8") as stream:
        for row in notes_of("short", num_rows):
            stream.write(json.dumps({"id": row.id, "text": row.document, "label": row.label}) + "\n")
    seconds: dict[str, list[float]] = {"local": [], "ray": []}
    for _ in range(num_runs):
        for engine, spent in seconds.items():
            output = folder / f"{engine}.jsonl"
            command = [sys.executable, "-m", "clsgen", "predict", source, "-m", model, "-o", output]
            started = time.monotonic()
            subprocess.run([*command, "--id", "id", "--engine", engine], check=True)
            spent.append(time.monotonic() - started)
    ratios = [ours / theirs for ours, theirs in zip(seconds["ray"], seconds["local"], strict=True)]
    ratio = statistics.median(ratios)
    apart = difference(folder / "local.jsonl", folder / "ray.jsonl")
    return {
        "machine": machine(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "rows": num_rows,
        "seconds": seconds,
        "ratio": ratio,
        "ratios": ratios,
        "bar": BAR,
        "met": ratio <= BAR and apart <= TOLERANCE,
        "probabilities_apart": apart,
    }


def difference(first: Path, second: Path) -> float:
    """The largest difference of two files' probabilities, whose rows must be the same."""
    largest = 0.0
    with first.open(encoding="utf-8") as one, second.open(encoding="utf-8") as other:
        for left, right in zip(map(json.loads, one), map(json.loads, other), strict=True):
            if left["id"] != right["id"]:
                raise AssertionError(f"rows differ: {left['id']} and {right['id']}")
            largest = max(largest, *(abs(left["probs"][label] - right["probs"][label]) for label in left["probs"]))
    return largest


def page(found: dict[str, Any]) -> str:
    """The figures as a page."""
    local, ray = (statistics.median(found["seconds"][engine]) for engine in ("local", "ray"))
    return (
        "# Ray beside one process\n\n"
        f"Measured on: {found['machine']}. The model is the embedded base; {found['rows']} short generated notes, "
        "probabilities alone; whole commands, start-up and loading included. `python benchmarks/ray_overhead.py` "
        "measures all of it.\n\n"
        "| rows | one process, s | Ray, s | ratio | spread | bar | met | probabilities differ by |\n"
        "|---|---|---|---|---|---|---|---|\n"
        f"| {found['rows']} | {local:.1f} | {ray:.1f} | {found['ratio']:.2f} | {min(found['ratios']):.2f} to "
        f"{max(found['ratios']):.2f} | <= {found['bar']:.2f} | {'yes' if found['met'] else 'no'} | "
        f"{found['probabilities_apart']:.1e} |\n"
    )


if __name__ == "__main__":
    main()
