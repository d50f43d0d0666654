"""Time and memory of `clsgen eval` on tables of generated probabilities, rows in groups of 2 or 3.

    python scripts/measure_evaluation.py               # needs an idle machine; writes docs/benchmarks/evaluation.md
    python scripts/measure_evaluation.py --rows 100000 --runs 1

The command's wall seconds, start-up and reading included; memory is the most that its process held.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from clsgen.artifacts import write_json_atomic, write_text_atomic

FIGURES, PAGE = Path("docs/benchmarks/evaluation.json"), Path("docs/benchmarks/evaluation.md")


@dataclass(frozen=True)
class Table:
    """What is judged: so many rows and bootstrap draws, these figures (None: all), held to seconds and gigabytes."""

    num_rows: int
    num_draws: int
    figures: str | None
    bar_s: float | None
    bar_gb: float | None = None


TABLES = (
    Table(100_000, 2000, "auroc,auprc,brier,log_loss,ece,f1", 30),
    Table(100_000, 2000, None, None),
    Table(10_000_000, 1000, None, 300, 4),
)


def main() -> None:
    """Generate, evaluate, show; keep what was measured of every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="tables of this size alone; nothing is written")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    chosen = [table for table in TABLES if arguments.rows in (None, table.num_rows)]
    rows = []
    for table in chosen:
        rows.append(measure(table, arguments.runs))
        print(f"{table.num_rows:,} rows: {rows[-1]['seconds']} s, {rows[-1]['peak_gb']:.2f} GB at most", flush=True)
    if arguments.rows is None:
        write_json_atomic(FIGURES, {"cores": os.cpu_count(), "rows": rows})
        write_text_atomic(PAGE, page(rows))


def measure(table: Table, num_runs: int) -> dict[str, Any]:
    """A table judged so many times; the median of its seconds is held to the bar."""
    seconds: list[float] = []
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "scores.parquet"
        write(source, table.num_rows)
        command = [sys.executable, "-m", "clsgen", "eval", source, "--prob", "p", "--label", "y", "--group", "g"]
        command += [] if table.figures is None else ["--figures", table.figures]
        for _ in range(num_runs):
            started = time.monotonic()
            process = subprocess.Popen([*command, "-o", folder, "--bootstrap", str(table.num_draws)])
            _, status, used = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(f"clsgen eval ended with {status}")
            seconds.append(round(time.monotonic() - started, 1))
            peaks.append(used.ru_maxrss * 1024 / 1e9)
    median, peak = statistics.median(seconds), max(peaks)
    bars = [(median, table.bar_s), (peak, table.bar_gb)]
    met = None if table.bar_s is None else all(bar is None or value <= bar for value, bar in bars)
    row = f"eval-{table.num_rows}" + ("" if table.figures is None else "-six-figures")
    return {"row": row, **asdict(table), "seconds": seconds, "ratio": median, "peak_gb": peak, "bar": table.bar_s} | {
        "met": met,
        "command": "python scripts/measure_evaluation.py",
    }


def write(path: Path, num_rows: int) -> None:
    """Calibrated probabilities, labels drawn from them, and groups of about 2.5 rows."""
    rng = np.random.default_rng(0)
    prob = rng.beta(1, 3, num_rows)
    label = (rng.random(num_rows) < prob).astype(int)
    group = np.char.add("g", rng.integers(0, int(num_rows * 0.4), num_rows).astype(str))
    pyarrow.parquet.write_table(pyarrow.table({"p": prob, "y": label, "g": group}), path)


def page(rows: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "# Judging many rows",
        "",
        f"`clsgen eval` of a parquet file of probabilities, labels and groups, on {os.cpu_count()} cores: whole "
        "commands, the median of their seconds, and the most memory that any held. Where rows times draws pass a "
        "billion no bootstrap interval is drawn, and every figure is exact. "
        "`python scripts/measure_evaluation.py` measures all of it.",
        "",
        "| rows | draws | figures | seconds | bar | memory, GB | bar | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        bars = ["" if row[name] is None else f"<= {row[name]:g}" for name in ("bar_s", "bar_gb")]
        met = {True: "yes", False: "no", None: "shown"}[row["met"]]
        figures = "all" if row["figures"] is None else row["figures"].replace(",", ", ")
        lines.append(
            f"| {row['num_rows']:,} | {row['num_draws']:,} | {figures} | {row['ratio']:.1f} | {bars[0]} | "
            f"{row['peak_gb']:.2f} | {bars[1]} | {met} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
