"""Measure an example against the baselines on the same rows, and write docs/results.md.

    python scripts/measure_results.py run examples/clinifact.yaml --name clinifact --seeds 0 1 2
    python scripts/measure_results.py run examples/clinifact.yaml --name clinifact --seeds 0 1 2 --folds 5
    python scripts/measure_results.py page

Each run is `clsgen train` and `clsgen eval` in a process of its own, kept in runs/results; a measurement that was
broken off goes on where it stopped. Folds are pooled: every row is predicted once a seed, by the model that did not
see its group. The figures go to docs/results/NAME-SPLIT.json, the page is made of those files.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from clsgen.artifacts import write_json_atomic, write_text_atomic
from clsgen.data.predictions import read_predictions, to_record
from clsgen.evaluation.explanations import vocabulary_of
from clsgen.evaluation.seeds import compare, spread, summarise
from clsgen.inference.predictor import Classifier
from clsgen.pipeline.baselines import baseline_predictions
from clsgen.pipeline.folder import RunFolder
from clsgen.types import ROLES, Prediction, TaskSpec

RUNS = Path("runs/results")
RESULTS = Path("docs/results")
METHODS = {"clsgen": "clsgen, from scratch", "tfidf": "TF-IDF + logistic regression", "cnn": "Kim CNN"}
FIGURES = ("auroc", "auprc", "brier", "log_loss", "ece", "f1", "accuracy")
TEXT_FIGURES = ("auroc_alignment", "rli", "r_lkappa", "readability", "unparsed_rate", "ended_share", "quote_share")


def main() -> None:
    """Run one measurement, or make the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("config", type=Path)
    run.add_argument("--name", required=True)
    run.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    run.add_argument("--folds", type=int, default=None)
    run.add_argument("--workers", type=int, default=2, help="Runs at a time, one core each.")
    commands.add_parser("page")
    arguments = parser.parse_args()
    if arguments.command == "page":
        write_text_atomic(Path("docs/results.md"), page())
    else:
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Train and judge every seed and fold, then the baselines on the same rows."""
    split = "published" if arguments.folds is None else f"grouped-{arguments.folds}-fold"
    folds: list[int | None] = [None] if arguments.folds is None else list(range(arguments.folds))
    jobs = [(seed, fold) for seed in arguments.seeds for fold in folds]
    runs = RUNS / arguments.name / split
    folders = {job: runs / f"seed{job[0]}-fold{job[1]}" for job in jobs}
    with ThreadPoolExecutor(arguments.workers) as pool:
        list(pool.map(lambda job: _one(arguments, job, folders[job]), jobs))
    spec = Classifier.from_pretrained(folders[jobs[0]]).spec
    predictions = {
        method: [
            _pooled([_predictions(method, folders[seed, fold], spec, seed=seed) for fold in folds])
            for seed in (arguments.seeds[:1] if method == "tfidf" else arguments.seeds)
        ]
        for method in METHODS
    }
    settings = RunFolder(folders[jobs[0]]).config().evaluate
    known = vocabulary_of(_train_texts([folders[arguments.seeds[0], fold] for fold in folds]))
    result: dict[str, Any] = {
        "name": arguments.name,
        "split": split,
        "seeds": arguments.seeds,
        "num_rows": len(predictions["clsgen"][0]),
        "num_groups": len({row.group for row in predictions["clsgen"][0]}),
        "labels": list(spec.labels),
        "train_seconds": [json.loads(file.read_text()) for file in sorted(runs.rglob("seconds.json"))],
        "shared_with_test": json.loads(RunFolder(folders[jobs[0]]).manifest.read_text())["shared_with_test"],
        "command": " ".join(["python scripts/measure_results.py run", *sys.argv[2:]]),
        "methods": {
            method: summarise(found, spec, settings=settings, vocabulary=known) for method, found in predictions.items()
        },
        "differences": {
            method: compare(predictions["clsgen"], predictions[method], spec, settings=settings, names=FIGURES[:4])
            for method in ("tfidf", "cnn")
        },
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json_atomic(RESULTS / f"{arguments.name}-{split}.json", result)
    print(table(result))


def _one(arguments: argparse.Namespace, job: tuple[int, int | None], folder: Path) -> None:
    """One `clsgen train` and `clsgen eval`, unless they are done."""
    seed, fold = job
    if (folder / "metrics.json").exists():
        return
    overrides = [f"output={folder}", f"train.seed={seed}"]
    if fold is not None:
        overrides += [f"data.split.num_folds={arguments.folds}", f"data.split.fold={fold}", "data.allow_leaks=false"]
        overrides += ["predict.explain=none", "train.num_monitor_explanations=0"]  # folds judge the probability
    started = time.monotonic()
    resume = ["--resume"] if (folder / "config.yaml").exists() else []
    clsgen = [sys.executable, "-m", "clsgen"]
    subprocess.run([*clsgen, "train", str(arguments.config), *overrides, *resume], check=True)
    if not resume:
        write_json_atomic(folder / "seconds.json", round(time.monotonic() - started))
    subprocess.run([*clsgen, "eval", str(folder)], check=True, stdout=subprocess.DEVNULL)


def _predictions(method: str, folder: Path, spec: TaskSpec, *, seed: int) -> list[Prediction]:
    """Test predictions of a method on a run's rows; a baseline's are kept beside the run's own."""
    if method == "clsgen":
        return read_predictions(folder / "predictions.jsonl")
    file = folder / f"{method}.jsonl"
    if not file.exists():
        run = RunFolder(folder)
        roles = {role: run.rows(role) for role in ROLES}
        found = baseline_predictions("tfidf" if method == "tfidf" else "cnn", roles, run.groups(), spec, seed=seed)
        write_text_atomic(file, "".join(json.dumps(to_record(row)) + "\n" for row in found))
    return read_predictions(file)


def _pooled(parts: Sequence[Sequence[Prediction]]) -> list[Prediction]:
    """The folds' rows together; each keeps its decision, but there is no one threshold any more."""
    if len(parts) == 1:
        return list(parts[0])
    return [replace(row, threshold=None) for part in parts for row in part]


def _train_texts(folders: Sequence[Path]) -> list[str]:
    rows = [row for folder in folders for row in RunFolder(folder).rows("train")]
    return [text for row in rows for text in (row.document, row.question, row.explanation or "")]


def page() -> str:
    """The page, from the committed figures."""
    files = sorted(RESULTS.glob("*.json"))
    head = Path("docs/results/preface.md").read_text(encoding="utf-8")
    return "\n".join([head, *(table(json.loads(file.read_text(encoding="utf-8"))) for file in files)])


def table(result: dict[str, Any]) -> str:
    """One measurement as Markdown."""
    methods = result["methods"]
    names = [name for name in FIGURES if methods["clsgen"].get(name, {}).get("value") is not None]
    shared = result["shared_with_test"].get("train")
    leak = f" {shared} test rows share a group or document with train." if shared else ""
    lines = [
        f"## {result['name']}, {result['split']} split",
        "",
        f"Test role: {result['num_rows']} rows in {result['num_groups']} groups; labels {', '.join(result['labels'])}; "
        f"seeds {', '.join(map(str, result['seeds']))}.{leak} A run trained for "
        f"{statistics.median(result['train_seconds']):.0f} s (median) on one core of a busy machine.",
        "",
        f"`{result['command']}`",
        "",
        "| | " + " | ".join(METHODS[method] for method in methods) + " |",
        "|---" * (len(methods) + 1) + "|",
    ]
    for name in [*names, "ece_reference"]:
        lines.append(f"| {name} | " + " | ".join(_cell(methods[m][name], name != "ece") for m in methods) + " |")
    lines += ["", "clsgen less the baseline, paired on the same rows (95% interval):", ""]
    lines += ["| | " + " | ".join(FIGURES[:4]) + " |", "|---" * 5 + "|"]
    for method, differences in result["differences"].items():
        cells = [f"{d['difference']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f})" for d in differences.values()]
        lines.append(f"| {METHODS[method]} | " + " | ".join(cells) + " |")
    if result["split"] != "published":  # folds judge the probability alone
        return "\n".join([*lines, ""])
    lines += [
        "",
        "Explanations of clsgen, free mode, as defined in docs/reference/metrics.md:",
        "",
        "| figure | value |",
        "|---|---|",
    ]
    lines += [f"| {name} | {_cell(methods['clsgen'][name])} |" for name in TEXT_FIGURES if name in methods["clsgen"]]
    return "\n".join([*lines, ""])


def _cell(entry: dict[str, Any], with_interval: bool = True) -> str:
    """Value, interval and seeds; the ECE's percentile interval is biased upwards, so its reference stands there."""
    if entry["value"] is None:
        return f"null: {entry.get('reason', '')}"
    text = f"{entry['value']:.3f}"
    if with_interval and entry["low"] is not None:
        text += f" ({entry['low']:.3f} to {entry['high']:.3f})"
    seeds = spread(entry)
    return text if seeds is None or seeds[0] == seeds[1] else f"{text}; seeds {seeds[0]:.3f} to {seeds[1]:.3f}"


if __name__ == "__main__":
    main()
