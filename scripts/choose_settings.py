"""Try a training setting on validation rows of the grouped folds, and write it down beside the others.

    python scripts/choose_settings.py examples/clinifact.yaml --name clinifact-binary
    python scripts/choose_settings.py examples/clinifact.yaml --name clinifact-binary --set train.learning_rate=5e-4

Each fold is trained as measure_results.py does, but nothing is predicted: the figures are those of the validation role
at the checkpoint that the run chose, so the test role stays unread. They go to docs/results/choices/NAME.json, one
entry a setting, and from there to docs/results.md. A setting that two folds have ruled out needs no more: `--only 0 1`.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from clsgen.artifacts import write_json_atomic
from measure_results import OVERRIDES, RESULTS, fold_settings, header, runs_log

RUNS = Path("runs/choices")
KEPT = RESULTS / "choices"
NAMES = {"auroc": "AUROC", "brier": "Brier", "class_loss": "class loss", "explanation_loss": "explanation loss"}
FIGURES = tuple(NAMES)


def main() -> None:
    """Train the folds under one setting and print all that were tried."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--method", choices=OVERRIDES, default="lora")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", type=int, nargs="+", help="Folds to train; default: all.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="+", default=[], dest="changes")
    parser.add_argument("--workers", type=int, default=2, help="Runs at a time, one core each.")
    arguments = parser.parse_args()
    folds = arguments.only or list(range(arguments.folds))
    with ThreadPoolExecutor(arguments.workers) as pool:
        found = list(pool.map(lambda fold: _fold(arguments, fold), folds))
    entry = {
        "config": str(arguments.config),
        "method": arguments.method,
        "changes": arguments.changes,
        "seed": arguments.seed,
        "num_folds": arguments.folds,
        "validation": {str(fold): figures for fold, figures in zip(folds, found, strict=True)},
    }
    file = KEPT / f"{arguments.name}.json"
    entries = json.loads(file.read_text(encoding="utf-8"))["settings"] if file.exists() else []
    key = ("method", "changes", "seed", "num_folds")
    earlier = [other for other in entries if all(other[name] == entry[name] for name in key)]
    for other in earlier:  # folds that were trained before stay beside these
        entry["validation"] = dict(sorted((other["validation"] | entry["validation"]).items()))
    result = {"name": arguments.name, "settings": [*(other for other in entries if other not in earlier), entry]}
    KEPT.mkdir(parents=True, exist_ok=True)
    write_json_atomic(file, result)
    print(table(result))


def table(result: dict[str, Any]) -> str:
    """The settings of one example as Markdown; figures are means over the folds that were trained."""
    lines = [
        f"## Settings tried: {result['name']}",
        "",
        "Validation rows of the grouped folds, at the checkpoint that the run chose; no test row is read "
        "(`scripts/choose_settings.py`).",
        "",
        *header(["method", "changed", "seed", *(NAMES[name] for name in FIGURES), "AUROC by fold"]),
    ]
    for setting in result["settings"]:
        folds = setting["validation"]
        means = [f"{statistics.mean(figures[name] for figures in folds.values()):.3f}" for name in FIGURES]
        by_fold = ", ".join(f"{fold}: {figures['auroc']:.3f}" for fold, figures in folds.items())
        changed = ", ".join(f"`{change}`" for change in setting["changes"]) or "nothing"
        lines.append("| " + " | ".join([setting["method"], changed, str(setting["seed"]), *means, by_fold]) + " |")
    return "\n".join([*lines, ""])


def _fold(arguments: argparse.Namespace, fold: int) -> dict[str, float]:
    """Validation figures of one fold at the checkpoint that the run chose."""
    setting = re.sub(r"[^a-z0-9.=]+", "-", " ".join([arguments.method, *arguments.changes]).lower())
    folder = RUNS / arguments.name / setting / f"seed{arguments.seed}-fold{fold}"
    if not (folder / "model").exists():
        words = [
            *OVERRIDES[arguments.method],
            *arguments.changes,
            f"train.seed={arguments.seed}",
            *fold_settings(arguments.folds, fold),
            f"output={folder}",
            *(["--resume"] if (folder / "config.yaml").exists() else []),
        ]
        with runs_log(folder).open("a") as handle:
            train = [sys.executable, "-m", "clsgen", "train", str(arguments.config), *words]
            subprocess.run(train, check=True, stdout=handle, stderr=handle)
    return _chosen(folder)


def _chosen(folder: Path) -> dict[str, Any]:
    """The evaluation of the checkpoint with the best figure."""
    last = max(folder.glob("checkpoints/checkpoint-*"), key=lambda found: int(found.name.rpartition("-")[2]))
    state = json.loads((last / "trainer_state.json").read_text(encoding="utf-8"))
    step = state["best_global_step"]
    log = next(entry for entry in state["log_history"] if entry["step"] == step and "eval_loss" in entry)
    return {name: round(log[f"eval_{name}"], 4) for name in FIGURES}


if __name__ == "__main__":
    main()
