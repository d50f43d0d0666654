"""Try a training setting on validation rows of the grouped folds, and write it down beside the others.

    python scripts/choose_settings.py examples/clinifact.yaml --name clinifact-binary
    python scripts/choose_settings.py examples/clinifact.yaml --name clinifact-binary --set train.learning_rate=5e-4

Each fold is trained as measure_results.py does, but nothing is predicted: the figures are those of the validation role
at the checkpoint that the run chose, so the test role stays unread. The mean over folds goes to
docs/results/choices/NAME.json, one entry a setting.
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
from measure_results import OVERRIDES, RESULTS, fold_settings, runs_log

RUNS = Path("runs/choices")
KEPT = RESULTS / "choices"
FIGURES = ("auroc", "brier", "class_loss", "explanation_loss")


def main() -> None:
    """Train the folds under one setting and print all that were tried."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--method", choices=OVERRIDES, default="lora")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="+", default=[], dest="changes")
    parser.add_argument("--workers", type=int, default=2, help="Runs at a time, one core each.")
    arguments = parser.parse_args()
    with ThreadPoolExecutor(arguments.workers) as pool:
        found = list(pool.map(lambda fold: _fold(arguments, fold), range(arguments.folds)))
    entry = {
        "method": arguments.method,
        "changes": arguments.changes,
        "seed": arguments.seed,
        "folds": arguments.folds,
        "validation": {name: round(statistics.mean(fold[name] for fold in found), 4) for name in FIGURES},
        "auroc_of_folds": [round(fold["auroc"], 4) for fold in found],
    }
    file = KEPT / f"{arguments.name}.json"
    entries = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    key = ("method", "changes", "seed", "folds")
    entries = [other for other in entries if any(other[name] != entry[name] for name in key)]
    KEPT.mkdir(parents=True, exist_ok=True)
    write_json_atomic(file, [*entries, entry])
    for tried in [*entries, entry]:
        print(tried["method"], " ".join(tried["changes"]) or "as it is", f"seed {tried['seed']}", tried["validation"])


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
    return {name: log[f"eval_{name}"] for name in FIGURES}


if __name__ == "__main__":
    main()
