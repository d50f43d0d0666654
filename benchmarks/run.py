"""The benchmarks: clsgen beside what people use, in turn, in one run.

    python -m venv benchmarks/.venv && benchmarks/.venv/bin/pip install -c constraints.txt -r benchmarks/peers.txt
    python benchmarks/run.py                       # every row
    python benchmarks/run.py --rows classify-256   # some
    python benchmarks/run.py --page                # docs/benchmarks/cpu.md from the figures that are there

Rows are merged into docs/benchmarks/cpu.json by name. Peers run under benchmarks/.venv, or under the
interpreter that CLSGEN_PEERS_PYTHON names.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clsgen.artifacts import write_json_atomic, write_text_atomic
from harness import PEERS, Growth, Row, measure, measure_growth
from pages import measured_on, page, table
from table import growths, rows

FIGURES = Path("docs/benchmarks/cpu.json")
PAGE = Path("docs/benchmarks/cpu.md")


def main() -> None:
    """Measure, keep, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--documents", type=int, default=200, help="Documents of the rows of mixed length.")
    parser.add_argument("--page", action="store_true", help="Make the page alone.")
    arguments = parser.parse_args()
    kept: list[dict[str, Any]] = json.loads(FIGURES.read_text(encoding="utf-8"))["rows"] if FIGURES.exists() else []
    if not arguments.page:
        if not PEERS.exists():
            parser.error(f"the peers' environment must be there ({PEERS}); install it as the help says")
        known: list[Row | Growth] = [*rows(arguments.documents), *growths()]
        for row in known:
            if arguments.rows is not None and row.name not in arguments.rows:
                continue
            found = measure_growth(row) if isinstance(row, Growth) else measure(row, num_runs=arguments.runs)
            if row.name.startswith("classify-mixed"):
                found["command"] += f" --documents {arguments.documents}"
            kept = [*(each for each in kept if each["row"] != row.name), found]
            outcome = f"{found['ratio']:.3f} (bar {found['bar']}, met {found['met']})"
            print(f"{row.name} | {found['peer']}: {outcome}", flush=True)
            order = {each.name: at for at, each in enumerate(known)}
            kept.sort(key=lambda each: order.get(each["row"], len(order)))
            FIGURES.parent.mkdir(parents=True, exist_ok=True)
            write_json_atomic(FIGURES, {"machine": machine(), "rows": kept})
    write_text_atomic(PAGE, written(json.loads(FIGURES.read_text(encoding="utf-8"))))


def machine() -> dict[str, Any]:
    """What was measured on."""
    import torch  # noqa: PLC0415

    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "processor": cpu[0] if cpu else platform.processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


_ABOUT = """\
Each row runs clsgen and the other side in turn, in processes of their own, and shows the median of the
ratios of neighbouring runs, and their spread. Where memory is measured, both sides give back what they free
at once (MALLOC_MMAP_THRESHOLD_), so that the peak is of what is in use. `make bench` measures all of them; a
row that is not here has not been measured. Each row's command stands in cpu.json."""
_COLUMNS = ("row", "held against", "measures", "ratio", "spread", "bar", "met", "output differs by")


def written(figures: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    about = f"{measured_on(figures['machine'])}.\n{_ABOUT}"
    return page("Benchmarks on a processor", about, table(_COLUMNS, map(_cells, figures["rows"])))


def _cells(row: Mapping[str, Any]) -> list[str]:
    sign = ">=" if row["direction"] == "peer / clsgen" else "<="
    other = row["difference"]
    return [
        row["row"],
        row["peer"],
        f"{row['measures']}, {row['direction']}",
        f"{row['ratio']:.2f}",
        f"{min(row['ratios']):.2f} to {max(row['ratios']):.2f}",
        "shown" if row["bar"] is None else f"{sign} {row['bar']:.3g}",
        {True: "yes", False: "no", None: ""}[row["met"]],
        "not compared" if other is None else other if isinstance(other, str) else f"{other:.1e}",
    ]


if __name__ == "__main__":
    main()
