"""Measure an example against scratch training and the baselines on the same rows, and write docs/results.md.

    python scripts/measure_results.py run examples/esnli.yaml --name esnli
    python scripts/measure_results.py run examples/clinifact.yaml --name clinifact-binary --folds 5 --methods lora full
    python scripts/measure_results.py page

A method is the example (its backbone, LoRA), the same with full tuning, or the same rows with `init: scratch`. Each
run is `clsgen train` and `clsgen eval` in a process of its own, kept in runs/results; a measurement that was broken off
goes on where it stopped, and methods may be measured one at a time. Folds are pooled: every row is predicted once a
seed, by the model that did not see its group.
The figures go to docs/results/NAME-SPLIT.json, the page is made of those files.
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
from typing import Any, NamedTuple

from clsgen.artifacts import write_json_atomic, write_text_atomic
from clsgen.data.explanations import vocabulary_of
from clsgen.data.predictions import read_predictions, to_record
from clsgen.evaluation.evaluate import Context
from clsgen.evaluation.seeds import compare, spread, summarise
from clsgen.pipeline.baselines import Baseline, Judged, baseline_predictions
from clsgen.pipeline.folder import RunFolder
from clsgen.types import ROLES, Prediction, TaskSpec

RUNS = Path("runs/results")
RESULTS = Path("docs/results")
OVERRIDES: dict[str, list[str]] = {
    "lora": [],
    "full": ["model.tuning=full", "train.learning_rate=3e-4"],
    "activated": ["model.tuning=activated"],
    "scratch": [
        "model.backbone=null",
        "model.init=scratch",
        "model.tuning=full",
        "model.scratch={vocabulary: 4096, width: 128, num_layers: 2, num_heads: 4}",
        "train.learning_rate=1e-3",
    ],
}
BASELINES = ("tfidf", "cnn")
NAMES = {
    "lora": "embedded, LoRA",
    "full": "embedded, full",
    "activated": "embedded, activated",
    "scratch": "from scratch",
    "tfidf": "TF-IDF + LR",
    "cnn": "Kim CNN",
}
FIGURES = ("auroc", "auprc", "brier", "log_loss", "ece", "f1", "accuracy")
COMPARED = ("auroc", "auprc", "brier", "log_loss", "accuracy")
TEXT_FIGURES = (
    "auroc_alignment",
    "rli",
    "r_lkappa",
    "readability",
    "readability_reference",
    "unparsed_rate",
    "ended_share",
    "quote_share",
    "boilerplate_share",
)


class Job(NamedTuple):
    """One run: method, seed, fold (None: the published split)."""

    method: str
    seed: int
    fold: int | None


def main() -> None:
    """Run one measurement, or make the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("config", type=Path)
    run.add_argument("--name", required=True)
    run.add_argument("--methods", nargs="+", choices=OVERRIDES, default=["lora", "full", "scratch"])
    run.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    run.add_argument("--folds", type=int, default=None)
    run.add_argument("--set", nargs="+", default=[], dest="changes", help="Settings changed for every method.")
    run.add_argument("--workers", type=int, default=2, help="Runs at a time, one core each.")
    commands.add_parser("page")
    arguments = parser.parse_args()
    if arguments.command == "page":
        write_text_atomic(Path("docs/results.md"), page())
    else:
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Train and judge every method, seed and fold, then the baselines on the same rows."""
    split = "published" if arguments.folds is None else f"grouped-{arguments.folds}-fold"
    folds: list[int | None] = [None] if arguments.folds is None else list(range(arguments.folds))
    runs = RUNS / arguments.name / split
    jobs = [Job(method, seed, fold) for seed in arguments.seeds for fold in folds for method in arguments.methods]
    with ThreadPoolExecutor(arguments.workers) as pool:
        list(pool.map(lambda job: _one(arguments, job, folder_of(runs, job)), jobs))
    first = folder_of(runs, jobs[0])
    spec, settings = RunFolder(first).spec(), RunFolder(first).config().evaluate
    found = {method: _all(method, arguments, folds, runs, spec) for method in (*arguments.methods, *BASELINES)}
    known = vocabulary_of(
        _train_texts([folder_of(runs, jobs[0]._replace(seed=arguments.seeds[0], fold=fold)) for fold in folds])
    )
    tested = [row for fold in folds for row in RunFolder(folder_of(runs, jobs[0]._replace(fold=fold))).rows("test")]
    context = Context(
        documents={row.id: row.document for row in tested},
        vocabulary=known,
        references={row.id: row.explanation for row in tested if row.explanation},
    )
    result: dict[str, Any] = {
        "name": arguments.name,
        "split": split,
        "seeds": arguments.seeds,
        "num_rows": len(found["tfidf"][0]),
        "num_groups": len({row.group for row in found["tfidf"][0]}),
        "labels": list(spec.labels),
        "train_seconds": {
            method: [json.loads(file.read_text()) for file in sorted((runs / method).rglob("seconds.json"))]
            for method in arguments.methods
        },
        "trained_with": {method: _torch_of(runs / method) for method in arguments.methods},
        "shared_with_test": json.loads(RunFolder(first).manifest.read_text())["shared_with_test"],
        "commands": [" ".join(["python scripts/measure_results.py run", *sys.argv[2:]])],
        "methods": {
            method: summarise(rows, spec, settings=settings, context=context) for method, rows in found.items()
        },
        "differences": {
            f"{ours} - {theirs}": compare(found[ours], found[theirs], spec, settings=settings, names=COMPARED)
            for ours in arguments.methods
            for theirs in (*(("lora",) if ours == "activated" else ()), "scratch", *BASELINES)
            if theirs in found and ours != theirs
        },
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"{arguments.name}-{split}.json"
    if file.exists():
        result = beside(json.loads(file.read_text(encoding="utf-8")), result)
    write_json_atomic(file, result)
    print(table(result))


def beside(earlier: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """An earlier measurement of other methods on the same rows and seeds, with this one's beside it.

    Raises:
        ValueError: The rows or seeds are others: the earlier file must be removed first.
    """
    for key in ("seeds", "num_rows", "num_groups", "labels", "shared_with_test"):
        if earlier[key] != result[key]:
            raise ValueError(f"{key} was {earlier[key]} in the earlier measurement and is {result[key]} now: remove it")
    joined = ("train_seconds", "trained_with", "methods", "differences")
    merged = {key: earlier.get(key, {}) | result[key] for key in joined}
    merged["methods"] = {method: merged["methods"][method] for method in NAMES if method in merged["methods"]}
    return result | merged | {"commands": list(dict.fromkeys([*earlier["commands"], *result["commands"]]))}


def folder_of(runs: Path, job: Job) -> Path:
    """Run directory of a job."""
    return runs / job.method / (f"seed{job.seed}" if job.fold is None else f"seed{job.seed}-fold{job.fold}")


def _torch_of(folder: Path) -> list[str]:
    """Versions of torch that a method's runs were trained with; those for a processor end in +cpu."""
    manifests = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*/manifest.json")]
    return sorted({manifest["packages"]["torch"] for manifest in manifests})


def _one(arguments: argparse.Namespace, job: Job, folder: Path) -> None:
    """The run of a job."""
    overrides = [*OVERRIDES[job.method], *arguments.changes, f"train.seed={job.seed}"]
    if job.fold is not None:
        overrides += [*fold_settings(arguments.folds, job.fold), "predict.explain=none"]  # folds judge the probability
    run_once(arguments.config, overrides, folder)


def fold_settings(num_folds: int, fold: int) -> list[str]:
    """What makes an example's run one of grouped folds."""
    return [
        f"data.split.num_folds={num_folds}",
        f"data.split.fold={fold}",
        "data.allow_leaks=false",
        "train.num_monitor_explanations=0",
    ]


def run_once(config: Path, overrides: Sequence[str], folder: Path) -> None:
    """One `clsgen train` and `clsgen eval` in a process of its own, unless they are done."""
    if (folder / "metrics.json").exists():
        return
    started = time.monotonic()
    resume = ["--resume"] if (folder / "config.yaml").exists() else []
    clsgen = [sys.executable, "-m", "clsgen"]
    with runs_log(folder).open("a") as handle:
        train = [*clsgen, "train", str(config), *overrides, f"output={folder}", *resume]
        subprocess.run(train, check=True, stdout=handle, stderr=handle)
        if not resume and (folder / "model").exists():  # a training that was told to stop ends without an error too
            write_json_atomic(folder / "seconds.json", round(time.monotonic() - started))
        subprocess.run([*clsgen, "eval", str(folder)], check=True, stdout=handle, stderr=handle)
    print(f"{folder}: {round(time.monotonic() - started)} s", flush=True)


def runs_log(folder: Path) -> Path:
    """Where a run's output goes: beside its directory, which `clsgen train` wants to make itself."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.parent / f"{folder.name}.log"


def _all(
    method: str, arguments: argparse.Namespace, folds: Sequence[int | None], runs: Path, spec: TaskSpec
) -> list[list[Prediction]]:
    """Test predictions of a method, a list a seed, folds pooled. TF-IDF has no seed."""
    seeds = arguments.seeds[:1] if method == "tfidf" else arguments.seeds
    return [pooled([_predictions(method, arguments, seed, fold, runs, spec) for fold in folds]) for seed in seeds]


def _predictions(
    method: str, arguments: argparse.Namespace, seed: int, fold: int | None, runs: Path, spec: TaskSpec
) -> list[Prediction]:
    """Predictions of one run; a baseline's are kept beside those of the first method."""
    if method in arguments.methods:
        return read_predictions(folder_of(runs, Job(method, seed, fold)) / "predictions.jsonl")
    folder = folder_of(runs, Job(arguments.methods[0], seed, fold))
    file = folder / f"{method}.jsonl"
    if not file.exists():
        run = RunFolder(folder)
        roles = {role: run.rows(role) for role in ROLES}
        name: Baseline = "tfidf" if method == "tfidf" else "cnn"
        found = baseline_predictions(name, Judged(roles, run.groups(), spec, run.config().calibrate), seed=seed)
        write_text_atomic(file, "".join(json.dumps(to_record(row)) + "\n" for row in found))
    return read_predictions(file)


def pooled(parts: Sequence[Sequence[Prediction]]) -> list[Prediction]:
    """The folds' rows together; each keeps its decision, but there is no one threshold any more."""
    if len(parts) == 1:
        return list(parts[0])
    return [replace(row, threshold=None) for part in parts for row in part]


def _train_texts(folders: Sequence[Path]) -> list[str]:
    rows = [row for folder in folders for row in RunFolder(folder).rows("train")]
    return [text for row in rows for text in (row.document, row.question, row.explanation or "")]


def page() -> str:
    """The page, from the committed figures."""
    import choose_settings  # noqa: PLC0415  (these make their runs by this file)
    import measure_comparison  # noqa: PLC0415
    import measure_curve  # noqa: PLC0415
    import noise_study  # noqa: PLC0415

    tables = (
        (table, RESULTS.glob("*.json")),
        (measure_curve.table, measure_curve.KEPT.glob("*.json")),
        (measure_comparison.table, measure_comparison.KEPT.glob("*.json")),
        (choose_settings.table, choose_settings.KEPT.glob("*.json")),
        (noise_study.table, noise_study.RESULT.parent.glob("*.json")),
    )
    parts = [make(json.loads(file.read_text(encoding="utf-8"))) for make, files in tables for file in sorted(files)]
    return "\n".join([Path("docs/results/preface.md").read_text(encoding="utf-8"), *parts])


def table(result: dict[str, Any]) -> str:
    """One measurement as Markdown."""
    methods = result["methods"]
    first = next(iter(methods))
    names = [name for name in FIGURES if methods[first].get(name, {}).get("value") is not None]
    shared = result["shared_with_test"].get("train")
    leak = f" {shared} test rows share a group or document with train." if shared else ""
    seconds = ", ".join(_seconds(method, result) for method in result["train_seconds"])
    lines = [
        f"## {result['name']}, {result['split']} split",
        "",
        f"Test role: {result['num_rows']} rows in {result['num_groups']} groups; labels {', '.join(result['labels'])}; "
        f"seeds {', '.join(map(str, result['seeds']))}.{leak} Median time of a run: {seconds}.",
        "",
        *(f"`{command}`" for command in result["commands"]),
        "",
        *header(["", *(NAMES[method] for method in methods)]),
    ]
    for name in [*names, "ece_reference"]:
        lines.append(f"| {name} | " + " | ".join(cell(methods[m][name], name != "ece") for m in methods) + " |")
    compared = [name for name in COMPARED if any(name in found for found in result["differences"].values())]
    lines += ["", "Paired differences on the same rows (95% interval):", "", *header(["", *compared])]
    for pair, differences in result["differences"].items():
        ours, _, theirs = pair.partition(" - ")
        cells = [difference(differences.get(name)) for name in compared]
        lines.append(f"| {NAMES[ours]} less {NAMES[theirs]} | " + " | ".join(cells) + " |")
    if result["split"] != "published":  # folds judge the probability alone
        return "\n".join([*lines, ""])
    ours = [method for method in methods if method not in BASELINES]
    lines += ["", "Explanations, free mode, as defined in docs/reference/metrics.md:", ""]
    lines += header(["", *(NAMES[method] for method in ours)])
    lines += [
        f"| {name} | " + " | ".join(cell(methods[method][name]) for method in ours) + " |"
        for name in TEXT_FIGURES
        if name in methods[ours[0]]
    ]
    return "\n".join([*lines, ""])


def _seconds(method: str, result: dict[str, Any]) -> str:
    """How long a method's runs took, and with which torch."""
    versions = result.get("trained_with", {}).get(method, [])
    with_torch = f" (torch {', '.join(versions)})" if versions else ""
    return f"{NAMES[method]} {statistics.median(result['train_seconds'][method]):.0f} s{with_torch}"


def difference(entry: dict[str, Any] | None) -> str:
    """A paired difference with its interval; "" where an earlier measurement has none."""
    return "" if entry is None else f"{entry['difference']:+.3f} ({entry['low']:+.3f} to {entry['high']:+.3f})"


def header(cells: Sequence[str]) -> list[str]:
    """The first two lines of a Markdown table."""
    return ["| " + " | ".join(cells) + " |", "|---" * len(cells) + "|"]


def cell(entry: dict[str, Any], with_interval: bool = True) -> str:
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
