"""`clsgen predict --engine ray` beside the same command in one process: seconds from start to end, and the same rows.

    python benchmarks/ray_overhead.py                      # 10,000 short notes; needs an idle machine
    python benchmarks/ray_overhead.py --rows 1500 --runs 1

Both sides are whole commands, start-up and loading included, in turn. Writes docs/benchmarks/ray.json and ray.md when
all 10,000 rows were run, three times. The model is trained first where it is not there (see models.py).
"""

from __future__ import annotations

import argparse
import json
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
"""What a probability may move by with the batch; here the batches are the same."""


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
    if (arguments.rows, arguments.runs, arguments.model) == (NUM_ROWS, NUM_RUNS, None):
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
    row = {
        "row": "predict-ray",
        "peer": "the same command in one process",
        "measures": f"seconds of the whole command, {num_rows} rows",
        "direction": "ray / local",
        "ratio": ratio,
        "ratios": ratios,
        "bar": BAR,
        "met": ratio <= BAR and apart <= TOLERANCE,
        "figures": {"num_rows": num_rows, "seconds": seconds},
        "difference": apart,
        "command": "python benchmarks/ray_overhead.py",
    }
    return {"machine": machine(), "rows": [row]}


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
    about = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    (row,) = found["rows"]
    local, ray = (statistics.median(row["figures"]["seconds"][engine]) for engine in ("local", "ray"))
    spread = f"{min(row['ratios']):.2f} to {max(row['ratios']):.2f}"
    met = "yes" if row["met"] else "no"
    return (
        "# Ray beside one process\n\n"
        f"Measured on: {about}. The model is the embedded base; short generated notes, probabilities alone; whole "
        f"commands in turn, start-up and loading included. `{row['command']}` measures all of it.\n\n"
        "| rows | one process, s | Ray, s | ratio | spread | bar | met | probabilities differ by |\n"
        "|---|---|---|---|---|---|---|---|\n"
        f"| {row['figures']['num_rows']} | {local:.1f} | {ray:.1f} | {row['ratio']:.2f} | {spread} | "
        f"<= {row['bar']:.2f} | {met} | {row['difference']:.1e} |\n"
    )


if __name__ == "__main__":
    main()
