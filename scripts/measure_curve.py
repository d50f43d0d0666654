"""How far an example gets from bases of other sizes, and from bases that have read less or more.

    python scripts/measure_curve.py examples/clinifact.yaml --name clinifact-binary

Each point is a base made by build_base.py (its first stage alone, in rows of 512 tokens, the last half at a falling
rate) and LoRA from it on the grouped folds, seed 0, as measure_results.py does it; the shipped base stands among them
with the folds that measure_results.py trained. What is done is kept in runs/, so a measurement that was broken off goes
on. The figures go to docs/results/curve/NAME.json, the logs of the bases to docs/benchmarks/base/curve. Hours on two
cores, minutes on a GPU.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from base.plan import chain_of, load_plan, tokens_read
from clsgen.artifacts import write_json_atomic
from clsgen.data.predictions import read_predictions
from clsgen.evaluation.seeds import summarise
from clsgen.pipeline.folder import RunFolder
from measure_results import RESULTS, RUNS, Job, cell, fold_settings, folder_of, header, pooled, run_once

KEPT = RESULTS / "curve"
LOGS = Path("docs/benchmarks/base/curve")
BASES = Path("runs/base")
NUM_FOLDS = 5
FIGURES = ("auroc", "brier", "log_loss")
SHAPES = {
    "small": "width=256 layers=6 heads=4 mlp=704",
    "embedded": "",
    "medium": "width=640 layers=10 heads=10 mlp=1728",
    "large": "width=768 layers=16 heads=12 mlp=2048",
}
POINTS = {
    "large-33m": ("large", 33_000_000),
    "embedded-66m": ("embedded", 66_000_000),
    "medium-33m": ("medium", 33_000_000),
    "embedded-33m": ("embedded", 33_000_000),
    "small-33m": ("small", 33_000_000),
    "embedded-2m": ("embedded", 1_600_000),
}


def main() -> None:
    """Make the bases, train from them, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--points", nargs="+", choices=POINTS, default=list(POINTS))
    parser.add_argument("--workers", type=int, default=2, help="Runs at a time, one core each.")
    arguments = parser.parse_args()
    for point in arguments.points:
        if not is_made(point):
            subprocess.run([sys.executable, "scripts/build_base.py", *base_words(point)], check=True)
    jobs = [(point, fold) for point in arguments.points for fold in range(NUM_FOLDS)]
    with ThreadPoolExecutor(arguments.workers) as pool:
        list(pool.map(lambda job: run_once(arguments.config, overrides(*job), fold_folder(arguments.name, *job)), jobs))
    result = {
        "name": arguments.name,
        "commands": [" ".join(["python scripts/measure_curve.py", *sys.argv[1:]])],
        "points": [*(measured(arguments.name, point) for point in POINTS if is_made(point)), shipped(arguments.name)],
    }
    KEPT.mkdir(parents=True, exist_ok=True)
    write_json_atomic(KEPT / f"{arguments.name}.json", result)
    print(table(result))


def base_words(point: str) -> list[str]:
    """What build_base.py is asked for; on a GPU a whole step is one pass."""
    shape, num_tokens = POINTS[point]
    changes = [f"model.{change}" for change in SHAPES[shape].split()]
    changes += [f"schedule.num_tokens={num_tokens}", "schedule.lengths=[[1.0, 512]]", "schedule.decay_share=0.5"]
    if torch.cuda.is_available():
        changes.append("schedule.micro_tokens=16384")
    return ["pretrain", "pretrain-1", "--as", f"curve-{point}", "--set", *changes]


def base_log(point: str) -> list[dict[str, Any]]:
    """The log of a point's base; of its last run, where it was begun again."""
    file = BASES / f"curve-{point}" / "log.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    begun = [number for number, line in enumerate(lines) if "parameters" in line]
    return lines[begun[-1] :] if begun else []


def is_made(point: str) -> bool:
    """Whether a point's base is finished."""
    log = base_log(point)
    return bool(log) and bool(log[-1].get("is_last"))


def overrides(point: str, fold: int) -> list[str]:
    """Settings of a point's fold."""
    backbone = f"model.backbone={BASES / f'curve-{point}'}"
    return [backbone, "train.seed=0", *fold_settings(NUM_FOLDS, fold), "predict.explain=none"]


def fold_folder(name: str, point: str, fold: int) -> Path:
    """Run directory of a point's fold."""
    return folder_of(RUNS / name / "curve", Job(point, 0, fold))


def measured(name: str, point: str) -> dict[str, Any]:
    """What a point's base is, and the figures of its folds."""
    log = base_log(point)
    LOGS.mkdir(parents=True, exist_ok=True)
    shutil.copy(BASES / f"curve-{point}" / "log.jsonl", LOGS / f"{point}.jsonl")
    return {
        "base": point,
        "parameters": log[0]["parameters"],
        "tokens": log[-1]["tokens"],
        "bits_per_byte": log[-1]["bits_per_byte"],
        "figures": figures_of([fold_folder(name, point, fold) for fold in range(NUM_FOLDS)]),
    }


def shipped(name: str) -> dict[str, Any]:
    """The same of the base that comes with the package, from the logs of its stages and the folds of its own table."""
    plan = load_plan()
    stages = max((chain_of(plan, stage) for stage in plan["stages"]), key=len)
    logs = [LOGS.parent / f"{stage}.jsonl" for stage in stages]
    lines = [json.loads(line) for line in logs[-1].read_text(encoding="utf-8").splitlines()]
    table_of = RUNS / name / f"grouped-{NUM_FOLDS}-fold"
    return {
        "base": "shipped",
        "parameters": lines[0]["parameters"],
        "tokens": sum(map(tokens_read, logs)),
        "bits_per_byte": lines[-1]["bits_per_byte"],
        "figures": figures_of([folder_of(table_of, Job("lora", 0, fold)) for fold in range(NUM_FOLDS)]),
    }


def figures_of(folders: Sequence[Path]) -> dict[str, Any]:
    """Figures of all folds' test rows together; {} where a fold is not trained."""
    if not all((folder / "metrics.json").exists() for folder in folders):
        return {}
    run = RunFolder(folders[0])
    rows = pooled([read_predictions(folder / "predictions.jsonl") for folder in folders])
    found = summarise([rows], run.spec(), settings=run.config().evaluate)
    return {name: found[name] for name in FIGURES}


def table(result: dict[str, Any]) -> str:
    """The points as Markdown, small bases first."""
    lines = [
        f"## {result['name']}: bases of other sizes, and that have read less or more",
        "",
        "Grouped folds, LoRA, seed 0. All but the shipped base had plain text alone, and no last phase.",
        "",
        *(f"`{command}`" for command in result["commands"]),
        "",
        *header(["base", "parameters", "tokens read", "bits per byte", "AUROC", "Brier", "log loss"]),
    ]
    for point in sorted(result["points"], key=lambda point: (point["parameters"], point["tokens"])):
        numbers = [point["base"], f"{point['parameters'] / 1e6:.1f} million", f"{point['tokens'] / 1e6:.1f} million"]
        numbers.append(f"{point['bits_per_byte']:.3f}")
        numbers += [cell(point["figures"][name]) if point["figures"] else "not measured" for name in FIGURES]
        lines.append("| " + " | ".join(numbers) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
