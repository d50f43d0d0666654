"""Measure an example beside its baselines by `clsgen compare`, and keep the tables for docs/results.md.

    python scripts/measure_comparison.py examples/clinifact.yaml --name clinifact-binary

clsgen's own runs are those that measure_results.py makes of the published split with LoRA: whichever of the two comes
first trains them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clsgen.artifacts import write_json_atomic
from clsgen.report.comparison import comparison_tables
from measure_results import RESULTS, RUNS, Job, folder_of, header, run_once

KEPT = RESULTS / "compare"


def main() -> None:
    """Train what is missing, compare, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--seeds", type=int, default=3, help="Number of seeds, from 0 on.")
    parser.add_argument("--set", nargs="+", default=[], dest="changes", help="Settings changed for every method.")
    arguments = parser.parse_args()
    run = measured_run(arguments.config, arguments.changes, RUNS / arguments.name / "published", arguments.seeds)
    result = json.loads((run / "comparison.json").read_text(encoding="utf-8"))
    command = " ".join(["python scripts/measure_comparison.py", *sys.argv[1:]])
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = {"name": arguments.name, "commands": [command], **result}
    write_json_atomic(KEPT / f"{arguments.name}.json", kept)
    print(table(kept))


def measured_run(config: Path, changes: Sequence[str], runs: Path, num_seeds: int) -> Path:
    """The first seed's run directory, with comparison.json in it."""
    folders = [folder_of(runs, Job("lora", seed, None)) for seed in range(num_seeds)]
    for seed, folder in enumerate(folders):
        run_once(config, [*changes, f"train.seed={seed}"], folder)
        link = folders[0] / "compare" / f"clsgen-seed{seed}" / "run"
        if seed > 0 and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(folder.resolve())
    overrides = [*changes, "train.seed=0", f"output={folders[0]}"]
    clsgen = [sys.executable, "-m", "clsgen", "compare", str(config), *overrides, "--seeds", str(num_seeds)]
    subprocess.run(clsgen, check=True)
    return folders[0]


def table(result: Mapping[str, Any]) -> str:
    """One comparison as Markdown."""
    lines = [
        f"## {result['name']}, published split, beside the paper's baselines",
        "",
        f"Test role: {result['num_rows']} rows in {result['num_groups']} groups; labels {', '.join(result['labels'])}.",
        "",
        *(f"`{command}`" for command in result["commands"]),
        "",
    ]
    for part in comparison_tables(result):
        lines += [part["caption"], "", *header(["", *part["names"]])]
        lines += ["| " + " | ".join([row["name"], *row["cells"]]) + " |" for row in part["rows"]]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
