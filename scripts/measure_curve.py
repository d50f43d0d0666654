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
from clsgen.evaluation.seeds import compare, summarise
from clsgen.pipeline.folder import RunFolder
from clsgen.types import Prediction
from measure_results import RESULTS, RUNS, Job, cell, difference, fold_settings, folder_of, header, pooled, run_once

KEPT = RESULTS / "curve"
LOGS = Path("docs/benchmarks/base/curve")
BASES = Path("runs/base")
NUM_FOLDS = 5
FIGURES = ("auroc", "brier")
SHIPPED = "shipped"
BESIDE = {SHIPPED: "predictions", "TF-IDF": "tfidf", "CNN": "cnn"}
"""What a point is compared with: a file of the shipped base's runs."""
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
    parser.add_argument("--points", nargs="*", choices=POINTS, default=list(POINTS), help="To train; none: only tell.")
    parser.add_argument("--workers", type=int, default=2, help="Runs at a time, one core each.")
    arguments = parser.parse_args()
    for point in arguments.points:
        if not is_made(point):
            subprocess.run([sys.executable, "scripts/build_base.py", *base_words(point)], check=True)
    jobs = [(point, fold) for point in arguments.points for fold in range(NUM_FOLDS)]
    with ThreadPoolExecutor(arguments.workers) as pool:
        list(pool.map(lambda job: run_once(arguments.config, overrides(*job), fold_folder(arguments.name, *job)), jobs))
    file = KEPT / f"{arguments.name}.json"
    earlier = json.loads(file.read_text(encoding="utf-8"))["points"] if file.exists() else []
    points = [*(measured(arguments.name, point) for point in POINTS if is_made(point)), shipped(arguments.name)]
    shared = on_shared_folds(arguments.name, points)
    result = {
        "name": arguments.name,
        "shared_folds": shared,
        "commands": [f"python scripts/measure_curve.py {arguments.config} --name {arguments.name}"],
        "points": beside(earlier, points),
    }
    KEPT.mkdir(parents=True, exist_ok=True)
    write_json_atomic(file, result)
    print(table(result))


def on_shared_folds(name: str, points: Sequence[dict[str, Any]]) -> list[int]:
    """Give each measured point what it has over others on the folds that all of them have; returns these.

    Folds are not equally hard: points that stand on other folds are compared on the shared ones alone.
    """
    trained = [point for point in points if point["folds"]]
    shared = sorted(set.intersection(*(set(point["folds"]) for point in trained))) if trained else []
    for point in trained if shared else []:
        is_shipped = point["base"] == SHIPPED
        folders = shipped_folders(name) if is_shipped else point_folders(name, point["base"])
        found = figures_of([folders[fold] for fold in shared], [shipped_folders(name)[fold] for fold in shared])
        point["shared"] = {"folds": shared, "less": found["less"]}
    return shared


def beside(earlier: Sequence[dict[str, Any]], points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Points measured now, and those measured earlier on more folds than are still in runs/."""
    found = {point["base"]: point for point in earlier}
    for point in points:
        kept = found.get(point["base"])
        if kept is None or len(kept["folds"]) <= len(point["folds"]):
            found[point["base"]] = point
    return list(found.values())


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


def point_folders(name: str, point: str) -> list[Path]:
    """Run directories of a point's folds, trained or not."""
    return [fold_folder(name, point, fold) for fold in range(NUM_FOLDS)]


def measured(name: str, point: str) -> dict[str, Any]:
    """What a point's base is, and the figures of the folds that are trained."""
    log = base_log(point)
    LOGS.mkdir(parents=True, exist_ok=True)
    shutil.copy(BASES / f"curve-{point}" / "log.jsonl", LOGS / f"{point}.jsonl")
    return {
        "base": point,
        "parameters": log[0]["parameters"],
        "tokens": log[-1]["tokens"],
        "bits_per_byte": log[-1]["bits_per_byte"],
        **figures_of(point_folders(name, point), shipped_folders(name)),
    }


def shipped(name: str) -> dict[str, Any]:
    """The same of the base that comes with the package, from the logs of its stages and the folds of its own table."""
    plan = load_plan()
    stages = max((chain_of(plan, stage) for stage in plan["stages"]), key=len)
    logs = [LOGS.parent / f"{stage}.jsonl" for stage in stages]
    lines = [json.loads(line) for line in logs[-1].read_text(encoding="utf-8").splitlines()]
    return {
        "base": SHIPPED,
        "parameters": lines[0]["parameters"],
        "tokens": sum(map(tokens_read, logs)),
        "bits_per_byte": lines[-1]["bits_per_byte"],
        **figures_of(shipped_folders(name), shipped_folders(name)),
    }


def shipped_folders(name: str) -> list[Path]:
    """The shipped base's runs of the folds, which hold the baselines' predictions too."""
    return [folder_of(RUNS / name / f"grouped-{NUM_FOLDS}-fold", Job("lora", 0, fold)) for fold in range(NUM_FOLDS)]


def figures_of(folders: Sequence[Path], beside: Sequence[Path]) -> dict[str, Any]:
    """Figures of the trained folds' test rows together, and what they have over others on the same rows.

    Args:
        folders: A fold each; those without a metrics.json are left out.
        beside: The shipped base's runs of the same folds.
    """
    folds = [fold for fold, folder in enumerate(folders) if (folder / "metrics.json").exists()]
    if not folds:
        return {"folds": [], "figures": {}, "less": {}}
    run = RunFolder(folders[folds[0]])
    spec, settings = run.spec(), run.config().evaluate

    def rows(of: Sequence[Path], file: str) -> list[list[Prediction]]:
        return [pooled([read_predictions(of[fold] / f"{file}.jsonl") for fold in folds])]

    ours = rows(folders, "predictions")
    found = summarise(ours, spec, settings=settings)
    others = {other: file for other, file in BESIDE.items() if list(folders) != list(beside) or other != SHIPPED}
    return {
        "folds": folds,
        "figures": {name: found[name] for name in FIGURES},
        "less": {
            other: compare(ours, rows(beside, file), spec, settings=settings, names=("auroc",))["auroc"]
            for other, file in others.items()
        },
    }


def table(result: dict[str, Any]) -> str:
    """The points as Markdown, small bases first; where they stand on other folds, on the shared ones too."""
    shared = result["shared_folds"]
    differ = len({len(point["folds"]) for point in result["points"] if point["folds"]}) > 1
    of_shared = f"folds {' and '.join(map(str, shared))}" if shared and differ else ""
    lines = [
        f"## {result['name']}: bases of other sizes, and that have read less or more",
        "",
        "Grouped folds, LoRA, seed 0; differences are of AUROC, on the same rows. All bases but the shipped one had "
        "plain text alone, in rows of 512 tokens, and no last phase.",
        "",
        *(f"`{command}`" for command in result["commands"]),
        "",
        *header(
            ["base", "parameters", "tokens read", "bits per byte", "folds", "AUROC", "Brier"]
            + [f"less {other}" for other in BESIDE]
            + ([f"less TF-IDF on {of_shared}"] if of_shared else [])
        ),
    ]
    for point in sorted(result["points"], key=lambda point: (point["parameters"], point["tokens"])):
        cells = [point["base"], f"{point['parameters'] / 1e6:.1f} million", f"{point['tokens'] / 1e6:.1f} million"]
        cells += [f"{point['bits_per_byte']:.3f}", f"{len(point['folds'])} of {NUM_FOLDS}"]
        cells += [cell(point["figures"][name]) if point["folds"] else "not measured" for name in FIGURES]
        cells += [difference(point["less"].get(other)) for other in BESIDE]
        own = point.get("shared", {})
        less = own["less"] if own.get("folds") == shared else {}
        cells += [difference(less.get("TF-IDF"))] if of_shared else []
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
