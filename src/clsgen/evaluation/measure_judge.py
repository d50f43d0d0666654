"""What a judge says of explanations: the label it recovers blind, whether it finds them readable, how steady it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from clsgen.config.prediction import EvaluateSettings
from clsgen.evaluation.arrays import IntArray, weighted_mean
from clsgen.evaluation.decisions import cohen_kappa
from clsgen.evaluation.intervals import Statistic, draw_groups
from clsgen.evaluation.measures import Measure, entries

_DEFINITIONS = {
    "judge_agreement": "Share of explanations from which the judge, seeing the reason alone, its answer cut, recovers "
    "the decided label. Higher is better.",
    "judge_kappa": "Cohen's kappa of the label so recovered and the decision. Higher is better.",
    "judge_readability": "Share of explanations that the judge finds fluent and complete.",
    "judge_self_agreement": "Share of explanations to which the judge, asked twice, gives one and the same label: what "
    "its other figures can't exceed in worth.",
    "judge_self_kappa": "Cohen's kappa of its two labels.",
    "judge_self_readability": "Share of explanations that it finds readable, or not, both times.",
    "judge_unparsed": "Share of explanations for which the judge's first answer could not be read.",
}


def judge_figures(
    records: Sequence[Mapping[str, Any]], labels: Sequence[str], *, settings: EvaluateSettings
) -> dict[str, dict[str, Any]]:
    """Figures of a judge's verdicts, with intervals by group.

    Args:
        records: One an explanation: `decision`, `group`, and `verdicts`: the answers to the same question, each with
            `label` and `is_readable`, or None where it could not be read.
        labels: The task's labels.
        settings: Draws, confidence, seed.
    """
    first = [record["verdicts"][0] for record in records]
    read = np.array([i for i, verdict in enumerate(first) if verdict is not None], dtype=np.int64)
    twice = np.array(
        [i for i, record in enumerate(records) if len(record["verdicts"]) > 1 and None not in record["verdicts"][:2]],
        dtype=np.int64,
    )

    def index(rows: IntArray, of: Any) -> IntArray:
        return np.array([list(labels).index(of(records[i])) for i in rows], dtype=np.int64)

    found = index(read, lambda record: record["verdicts"][0]["label"])
    decided = index(read, lambda record: record["decision"])
    once, again = (index(twice, lambda record, n=n: record["verdicts"][n]["label"]) for n in (0, 1))
    readable = [[records[i]["verdicts"][n]["is_readable"] for i in twice] for n in (0, 1)]
    statistics = {
        "judge_agreement": _mean(found == decided, read),
        "judge_kappa": _kappa(found, decided, read, len(labels)),
        "judge_readability": _mean([first[i]["is_readable"] for i in read], read),
        "judge_self_agreement": _mean(once == again, twice),
        "judge_self_kappa": _kappa(once, again, twice, len(labels)),
        "judge_self_readability": _mean(np.array(readable[0]) == np.array(readable[1]), twice),
        "judge_unparsed": _mean([verdict is None for verdict in first], np.arange(len(first))),
    }
    group = np.array([str(record["group"]) for record in records])
    draws = draw_groups(group, np.zeros(len(records)), num_draws=settings.num_bootstrap, seed=settings.seed)
    measures = {
        name: Measure(_DEFINITIONS[name], statistic, reason=_reason(name, len(statistic.rows)))
        for name, statistic in statistics.items()
    }
    return entries(measures, draws, confidence=settings.confidence)


def _reason(name: str, num_rows: int) -> str:
    if not num_rows:
        return "no two answers to one question could be read" if "self" in name else "no answer could be read"
    return "one label throughout" if name.endswith("kappa") else ""


def _mean(value: ArrayLike, rows: IntArray) -> Statistic:
    value_N = np.asarray(value, dtype=np.float64)
    return Statistic(lambda weight: weighted_mean(value_N, weight), rows)


def _kappa(first: IntArray, second: IntArray, rows: IntArray, num_labels: int) -> Statistic:
    return Statistic(lambda weight: cohen_kappa(first, second, num_classes=num_labels, weight=weight), rows)
