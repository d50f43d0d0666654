"""What a teacher's errors do to a model: the strategies of `clsgen synth`, on notes whose true causes are known.

    python scripts/noise_study.py

A teacher that is right for 40% of those who died and 90% of the others, and that makes causes up where it was told an
answer it would not have found, explains the train rows of generated notes by each strategy, as a real server on
loopback. Each set of explanations trains the embedded base over several seeds; `human` are the generator's own reasons.
Runs are kept in runs/noise; the figures go to docs/results/noise/study.json.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from clsgen.artifacts import write_json_atomic
from clsgen.config.load import load_config
from clsgen.data.explanations import vocabulary_of_rows
from clsgen.data.predictions import read_predictions
from clsgen.evaluation.evaluate import Context
from clsgen.evaluation.seeds import compare, summarise
from clsgen.inference.predictor import Classifier
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.rows import load_split
from clsgen.pipeline.synth import synthesise
from clsgen.tasks.synthetic import generate_notes
from clsgen.types import Example, Prediction
from measure_results import cell, header, run_once
from noise.teacher import Errors, NoisyTeacher, causes, serve

CONFIG = Path("examples/noise.yaml")
RUNS = Path("runs/noise")
RESULT = Path("docs/results/noise/study.json")
STRATEGIES = ("blind", "hinted", "blind_then_hinted", "both_sides", "human")
ERRORS = Errors({"died": 0.4, "survived": 0.9}, made_up=0.1, made_up_when_told=0.5)
FIGURES = (
    "auroc",
    "brier",
    "sensitivity",
    "auroc_alignment",
    "rli",
    "r_lkappa",
    "readability",
    "quote_share",
    "grounding",
)
COMPARED = ("auroc", "brier")


def main() -> None:
    """Ask, train, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2, help="Runs at a time, one core each.")
    arguments = parser.parse_args()
    tallies = explain_all()
    jobs = [(strategy, seed) for seed in arguments.seeds for strategy in STRATEGIES]
    with ThreadPoolExecutor(arguments.workers) as pool:
        list(pool.map(lambda job: run_once(CONFIG, overrides_of(*job), folder_of(*job)), jobs))
    result = judged(arguments.seeds) | {"explained": tallies, "commands": ["python scripts/noise_study.py"]}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(RESULT, result)
    print(table(result))


def folder_of(strategy: str, seed: int) -> Path:
    """Run directory of one strategy and seed."""
    return RUNS / strategy / f"seed{seed}"


def overrides_of(strategy: str, seed: int) -> list[str]:
    """What a run changes in the example."""
    return [
        "data.explanations=teacher",
        f"teacher.strategy={strategy}",
        f"teacher.folder={RUNS / strategy / 'teacher'}",
        f"train.seed={seed}",
    ]


def explain_all() -> dict[str, Any]:
    """Every strategy's explanations, by a real server; strategy -> its tallies by class."""
    data = load_config(CONFIG).data
    notes = generate_notes(data.num_rows or 2000, length=data.length, prevalence=data.prevalence, seed=data.seed)
    server = serve(NoisyTeacher(notes, ERRORS), 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"teacher.endpoint=http://127.0.0.1:{server.server_address[1]}/v1"
    found = {}
    for strategy in STRATEGIES:
        config = load_config(CONFIG, [*overrides_of(strategy, 0), endpoint, "teacher.model=noisy"])
        found[strategy] = {name: each.to_json() for name, each in synthesise(config).tallies.items()}
    server.shutdown()
    return found


def words_of(strategy: str, seed: int) -> frozenset[str]:
    """What a strategy's models have read: documents, questions and the explanations that they were given."""
    rows = RunFolder(folder_of(strategy, seed)).rows("train")
    return vocabulary_of_rows(rows)


def judged(seeds: Sequence[int]) -> dict[str, Any]:
    """Figures of every strategy, and their differences from the default one."""
    first = folder_of(STRATEGIES[0], seeds[0])
    spec, settings = Classifier.from_pretrained(first).spec, RunFolder(first).config().evaluate
    test = {row.id: row for row in RunFolder(first).rows("test")}
    split = load_split(RunFolder(first).config().data).split
    documents = {row.id: row.document for row in test.values()}
    found = {
        strategy: [read_predictions(RunFolder(folder_of(strategy, seed)).predictions) for seed in seeds]
        for strategy in STRATEGIES
    }
    facts = sorted({cause["fact"].lower() for row in (*test.values(), *split.roles["train"]) for cause in causes(row)})
    return {
        "seeds": list(seeds),
        "num_rows": len(test),
        "num_positive": sum(row.label == spec.positive for row in test.values()),
        "errors": {"right": dict(ERRORS.right), "made_up": ERRORS.made_up, "when_told": ERRORS.made_up_when_told},
        "methods": {
            strategy: summarise(
                rows,
                spec,
                settings=settings,
                context=Context(documents=documents, vocabulary=words_of(strategy, seeds[0])),
            )
            for strategy, rows in found.items()
        },
        "causes": {strategy: [named_causes(rows, test, facts) for rows in each] for strategy, each in found.items()},
        "differences": {
            f"blind_then_hinted - {other}": compare(
                found["blind_then_hinted"], found[other], spec, settings=settings, names=COMPARED
            )
            for other in STRATEGIES
            if other != "blind_then_hinted"
        },
    }


def named_causes(rows: Sequence[Prediction], notes: dict[str, Example], facts: Sequence[str]) -> dict[str, float]:
    """Shares of explanations: with a true cause of the side that they take, and with a finding that the note lacks."""
    true, made_up = [], []
    for row in rows:
        note, text = notes[row.id], str(row.explanation).lower()
        raises = (row.stated_label or row.decision) == "died"
        own = [cause["fact"].lower() for cause in causes(note) if (cause["contribution"] > 0) == raises]
        document = note.document.lower()
        true.append(any(fact in text for fact in own))
        made_up.append(any(fact in text and fact not in document for fact in facts))
    return {"true_cause": float(np.mean(true)), "made_up": float(np.mean(made_up))}


def table(result: dict[str, Any]) -> str:
    """The study as Markdown."""
    right = ", ".join(f"{label} {share:.0%}" for label, share in result["errors"]["right"].items())
    lines = [
        "## Noisy teachers",
        "",
        f"Generated notes, the embedded base (LoRA), seeds {', '.join(map(str, result['seeds']))}; test role: "
        f"{result['num_rows']} notes, {result['num_positive']} of them followed by death. The teacher is right blind "
        f"for {right}. It names causes that the note does not have in {result['errors']['made_up']:.0%} of its "
        f"answers, and in {result['errors']['when_told']:.0%} where it was told what it would not have found. `human`: "
        "the generator's own reasons. true_cause: explanations that name a true cause of the side they take; made_up: "
        "explanations that name a finding which the note does not have.",
        "",
        *(f"`{command}`" for command in result["commands"]),
        "",
        *header(["", *STRATEGIES]),
    ]
    for label in ("died", "survived"):
        kept = [result["explained"][strategy][label] for strategy in STRATEGIES]
        lines.append(
            f"| {label}: rows explained (hinted) | "
            + " | ".join(f"{each['num_kept']} of {each['num_rows']} ({each['num_hinted']})" for each in kept)
            + " |"
        )
    for name in FIGURES:
        lines.append(f"| {name} | " + " | ".join(cell(result["methods"][each][name]) for each in STRATEGIES) + " |")
    for name in ("true_cause", "made_up"):
        values = [[seed[name] for seed in result["causes"][strategy]] for strategy in STRATEGIES]
        cells = [f"{np.mean(each):.3f}; seeds {min(each):.3f} to {max(each):.3f}" for each in values]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "Paired differences on the same rows (95% interval):", "", *header(["", *COMPARED])]
    for pair, differences in result["differences"].items():
        cells = [f"{d['difference']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f})" for d in differences.values()]
        lines.append(f"| {pair} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
