"""clsgen beside its baselines on the same rows and seeds: one table, paired differences, and what each costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clsgen.artifacts import make_folder, write_json_atomic
from clsgen.config.run import RunConfig
from clsgen.errors import ConfigError, DataError
from clsgen.evaluation.auroc_interval import auroc_difference
from clsgen.evaluation.evaluate import Context
from clsgen.evaluation.seeds import compare as differences_of
from clsgen.evaluation.seeds import summarise
from clsgen.evaluation.table import tabulate
from clsgen.pipeline.compare_methods import METHODS, Method, Outcome, Work
from clsgen.pipeline.endpoint import Endpoint
from clsgen.pipeline.evaluate import context_of
from clsgen.pipeline.questions import is_joint
from clsgen.report.comparison import DEFAULT, SHOWN, TEXTS
from clsgen.types import Prediction, TaskSpec

COMPARED = ("auroc", "auprc", "brier", "log_loss", "accuracy")
_MIN_ROWS = 20
"""Of a method that answers for some rows only: fewer rows than these are not judged."""


def compare_run(
    config: RunConfig,
    *,
    methods: Sequence[str] | None = None,
    num_seeds: int = 3,
    endpoint: Endpoint | None = None,
    notify: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Train and judge every method on the rows of a run; what was done before is not done again.

    The first seed's run of clsgen is the run itself (`config.output`), trained unless it is there; everything else
    stands in `compare/` below it.

    Args:
        config: The run; its train.seed is the first seed.
        methods: Names of METHODS; None: those of DEFAULT that the settings allow.
        num_seeds: Seeds of the methods that have any: train.seed and those that follow it.
        endpoint: A server whose model is prompted too.
        notify: Called with a line at each step.

    Returns:
        What comparison.json, written into the run, holds: seeds, num_rows, num_groups, labels, methods (metrics,
        explanations, what else is known of each, seconds), differences (clsgen less the other, with intervals).

    Raises:
        ConfigError: An unknown method, no clsgen among them, or one that the settings don't allow; no test row; several
            questions.
    """
    if is_joint(config):
        raise ConfigError("compare: data.question must name one of the questions; it is null. Set it.")
    if config.data.test is None and config.data.split.num_folds is None and config.data.split.test == 0:
        raise ConfigError("compare: there must be test rows; data.split.test is 0. Set it, or name data.test.")
    chosen = _chosen(config, methods, endpoint, notify)
    seeds = [config.train.seed + index for index in range(num_seeds)]
    work = Work(config, endpoint, notify)
    found = {name: [work.outcome(name, seed) for seed in (seeds if method.has_seed else seeds[:1])]
             for name, method in chosen.items()}  # fmt: skip
    spec = work.spec
    context = context_of(work.roles["test"], work.roles["train"])
    ours = [outcome.predictions for outcome in found["clsgen"]]
    result: dict[str, Any] = {
        "seeds": seeds,
        "num_rows": len(ours[0]),
        "num_groups": len({row.group or row.id for row in ours[0]}),
        "labels": list(spec.labels),
        "positive": spec.positive,
        "predictions_sha256": found["clsgen"][0].notes["predictions_sha256"],
        "compared": list(COMPARED),
        "methods": {name: _method(outcomes, spec, config, context) for name, outcomes in found.items()},
        "differences": {
            name: _differences(ours, [each.predictions for each in outcomes], spec, config)
            for name, outcomes in found.items()
            if name != "clsgen" and _is_judged(outcomes)
        },
    }
    make_folder(Path(config.output))
    write_json_atomic(Path(config.output) / "comparison.json", result)
    return result


def _chosen(
    config: RunConfig, methods: Sequence[str] | None, endpoint: Endpoint | None, notify: Callable[[str], None]
) -> dict[str, Method]:
    names = list(dict.fromkeys(DEFAULT if methods is None else methods))
    if endpoint is not None and "endpoint" not in names:
        names.append("endpoint")
    unknown = [name for name in names if name not in METHODS]
    if unknown or "clsgen" not in names:
        raise ConfigError(
            f"compare: methods must name clsgen, and others among {', '.join(METHODS)}; got {', '.join(names)}."
        )
    chosen = {name: METHODS[name] for name in METHODS if name in names}
    for name, method in chosen.items():
        problem = method.problem(config, endpoint)
        if problem and methods is None:
            notify(f"{name} is left out: it {problem}")
        elif problem:
            raise ConfigError(f"compare: {name} {problem} Leave it out (--methods).")
    return {name: method for name, method in chosen.items() if not method.problem(config, endpoint)}


def _is_judged(outcomes: Sequence[Outcome]) -> bool:
    return all(len(outcome.predictions) >= _MIN_ROWS for outcome in outcomes)


def _method(outcomes: Sequence[Outcome], spec: TaskSpec, config: RunConfig, context: Context) -> dict[str, Any]:
    """Figures of one method; those without a value are left out of the tables, and say why here."""
    notes = {"seconds": [outcome.seconds for outcome in outcomes], "notes": [outcome.notes for outcome in outcomes]}
    if not _is_judged(outcomes):
        num_rows = min(len(outcome.predictions) for outcome in outcomes)
        reasons = [outcome.notes["reason"] for outcome in outcomes if "reason" in outcome.notes]
        reason = reasons[0] if reasons else "too few rows to judge"
        return notes | {"metrics": {}, "explanations": {}, "num_rows": num_rows, "reason": reason}
    found = summarise(
        [outcome.predictions for outcome in outcomes],
        spec,
        settings=config.evaluate,
        context=context,
    )
    perplexities: list[Any] = [outcome.notes.get("perplexity") for outcome in outcomes]
    explanations = {name: found[name] for name in TEXTS if name in found and found[name]["n"]}
    if all(value is not None for value in perplexities):
        mean = math.fsum(perplexities) / len(perplexities)
        explanations["perplexity"] = {"value": mean, "low": None, "high": None, "seeds": perplexities}
    return notes | {
        "num_rows": len(outcomes[0].predictions),
        "metrics": {name: found[name] for name in (*SHOWN, "ece_reference")},
        "explanations": explanations,
    }


def _differences(
    ours: Sequence[Sequence[Prediction]], theirs: Sequence[Sequence[Prediction]], spec: TaskSpec, config: RunConfig
) -> dict[str, Any]:
    """Differences, clsgen less the other, on the rows that the other has an answer for."""
    answered = {row.id for row in theirs[0]}
    mine = [[row for row in rows if row.id in answered] for rows in ours]
    found: dict[str, Any] = {
        name: {"value": _or_null(each["difference"]), "low": _or_null(each["low"]), "high": _or_null(each["high"])}
        for name, each in differences_of(mine, theirs, spec, settings=config.evaluate, names=COMPARED).items()
    }
    found["num_rows"] = len(mine[0])
    if spec.positive is not None:
        first, second = tabulate(mine[0], spec), tabulate(theirs[0], spec)
        known = first.label_N >= 0
        try:
            test = auroc_difference(
                first.prob[known], second.prob[known], first.target(first.label_N[known]), first.group[known]
            )
        except DataError:
            return found
        p_value = _or_null(test.p_value)
        found["auroc"]["test"] = {"p_value": p_value, "method": test.method, "seed": config.train.seed}
        if p_value is None:
            found["auroc"]["test"]["reason"] = "a class in one group only, or areas that differ with no variance"
    return found


def _or_null(number: float) -> float | None:
    return None if math.isnan(number) else number
