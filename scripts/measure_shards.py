"""Memory of judging, and of reading for a calibrator, sharded predictions with short and with long reasons.

    python scripts/measure_shards.py                     # 50,000 rows; writes docs/benchmarks/shards.md
    python scripts/measure_shards.py --rows 1000000

The same rows are written twice, with reasons of 5 and of 800 words. If texts were held, the second would take as much
more memory as they are long.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow
import pyarrow.parquet

from clsgen.artifacts import write_text_atomic
from clsgen.data.prediction_table import schema_of

PAGE = Path("docs/benchmarks/shards.md")
NUM_ROWS, NUM_FILES = 50_000, 16
LENGTHS = (5, 800)
_WORDS = np.array(["patient", "was", "well", "at", "home", "and", "walked", "without", "help", "or", "pain", "today"])
_READ = "import sys; from clsgen.data.prediction_columns import read_logits; read_logits(sys.argv[1])"


class Cost(NamedTuple):
    """seconds: wall. peak_bytes: most memory that the process held."""

    seconds: float
    peak_bytes: int


def main() -> None:
    """Write, run, print; with the rows that it is of also the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=NUM_ROWS)
    arguments = parser.parse_args()
    lines = []
    for length in LENGTHS:
        with tempfile.TemporaryDirectory() as folder:
            parts = Path(folder) / "parts"
            num_bytes = write(parts, arguments.rows, length)
            judged = cost([sys.executable, "-m", "clsgen", "eval", str(parts), "-o", folder])
            read = cost([sys.executable, "-c", _READ, str(parts)])
        lines.append(
            f"| {arguments.rows} | {length} | {num_bytes / 2**20:.0f} | {judged.peak_bytes / 2**20:.0f} | "
            f"{read.peak_bytes / 2**20:.0f} |"
        )
        print(lines[-1], f"({judged.seconds:.0f} s and {read.seconds:.0f} s)")
    if arguments.rows == NUM_ROWS:
        write_text_atomic(PAGE, page(lines))


def write(folder: Path, num_rows: int, num_words: int) -> int:
    """Files of predictions whose labels are drawn from their probabilities; bytes of all reasons together."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    schema, num_bytes = schema_of(("no", "yes"), "none"), 0
    for number, ids in enumerate(np.array_split(np.arange(num_rows), NUM_FILES)):
        prob = rng.beta(1, 3, len(ids))
        is_yes = rng.random(len(ids)) < prob
        texts = [" ".join(words) for words in rng.choice(_WORDS, (len(ids), num_words))]
        num_bytes += sum(map(len, texts))
        decided = np.where(prob >= 0.5, "yes", "no")
        columns = {
            "id": [f"row-{each}" for each in ids],
            "probs": [{"no": 1 - p, "yes": p} for p in prob],
            "logits": [[0.0, float(np.log(p / (1 - p)))] for p in prob.clip(1e-9, 1 - 1e-9)],
            "decision": decided.tolist(),
            "threshold": [0.5] * len(ids),
            "num_document_tokens_cut": [0] * len(ids),
            "mode": ["free"] * len(ids),
            "explanation": texts,
            "stated_label": decided.tolist(),
            "has_ended": [True] * len(ids),
            "label": np.where(is_yes, "yes", "no").tolist(),
            "group": [f"g{each // 2}" for each in ids],
            "text_hash": [f"{each:032x}" for each in ids],
        }
        absent = {name: [None] * len(ids) for name in schema.names if name not in columns}
        table = pyarrow.Table.from_pydict({name: (columns | absent)[name] for name in schema.names}, schema)
        pyarrow.parquet.write_table(table, folder / f"part-{number:05}.parquet", row_group_size=1024)
    return num_bytes


def cost(command: Sequence[str]) -> Cost:
    """What a command takes, in a process that starts nothing else."""
    watcher = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", watcher, *command], check=True, capture_output=True, text=True)
    return Cost(time.monotonic() - started, 1024 * int(done.stdout))


def page(lines: Sequence[str]) -> str:
    """The figures as a page."""
    return "\n".join(
        [
            "# Sharded predictions are judged without their texts",
            "",
            f"{NUM_FILES} parquet files of generated predictions, once with short reasons and once with long ones. "
            "Memory is the most that the process held. `python scripts/measure_shards.py` measures all of it.",
            "",
            "| rows | words a reason | reasons, MiB | `clsgen eval`, MiB | reading for a calibrator, MiB |",
            "|---|---|---|---|---|",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    main()
