"""What reviewers' answers amount to: shares with intervals, agreement between reviewers, preference between models.

Rows of a study are drawn evenly over strata. Shares are weighted back to the rows that there are, by one over the share
of the stratum that was drawn; intervals are bootstrapped by the rows' groups, with all reviewers of a row together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np

from clsgen.config.prediction import EvaluateSettings
from clsgen.evaluation.agreement import fleiss_kappa, krippendorff_alpha
from clsgen.evaluation.arrays import FloatArray, IntArray, ratio
from clsgen.evaluation.decisions import cohen_kappa
from clsgen.evaluation.intervals import Statistic, draw_groups
from clsgen.evaluation.measures import Measure, entries

_NO_ANSWER = "nobody answered it"
_NO_OVERLAP = "too few items that several reviewers answered, or one choice throughout"


@dataclass(frozen=True, slots=True)
class Answered:
    """What a reviewer said of an item, and what they did not know of it.

    Attributes:
        reviewer: Name.
        item: Id.
        kind: rating, pair or check.
        answer: Question -> choice.
        is_complete: Whether every question is answered.
        seconds: That the item was looked at.
        row_id: Of the row.
        group: The row's group.
        models: Of what was shown, in its order; a check's is "".
        decisions: Decided labels of what was shown.
        label: The known label; None where unknown.
        stratum: That the row was drawn from.
        share: Of the stratum that was drawn.
        comment: Free text.
        answered_at: Unix time.
    """

    reviewer: str
    item: str
    kind: str
    answer: Mapping[str, str]
    is_complete: bool
    seconds: float
    row_id: str
    group: str
    models: tuple[str, ...]
    decisions: tuple[str, ...]
    label: str | None
    stratum: str
    share: float
    comment: str = ""
    answered_at: float = 0.0


def review_figures(
    answers: Sequence[Answered],
    *,
    models: Sequence[str],
    questions: Mapping[str, Sequence[str]],
    min_checks: float,
    settings: EvaluateSettings,
) -> dict[str, Any]:
    """Figures of a study.

    Args:
        answers: The last answer of each reviewer to each item.
        models: Models of the study.
        questions: Question -> its choices from best to worst; a check is passed where all answers are "no".
        min_checks: Reviewers who passed a smaller share of the checks that they completed are left out; above 0 also
            who completed none, as nothing shows that they read.
        settings: Draws, confidence, seed.

    Returns:
        reviewers (what each did, and whether they are left out), models (model -> question -> figure, with counts of
        the choices), agreement (question -> fleiss, krippendorff, cohen of every two reviewers), preference (of every
        two models).
    """
    reviewers = {name: _reviewer(answers, name, min_checks) for name in sorted({each.reviewer for each in answers})}
    kept = [each for each in answers if each.is_complete and not reviewers[each.reviewer]["is_left_out"]]
    ratings = [each for each in kept if each.kind == "rating"]
    return {
        "reviewers": reviewers,
        "min_checks": min_checks,
        "models": {model: _shares(ratings, model, questions, settings) for model in models},
        "agreement": {name: _agreement(ratings, name, choices, settings) for name, choices in questions.items()},
        "preference": [
            _preference([each for each in kept if set(each.models) == set(pair)], pair, settings)
            for pair in combinations(models, 2)
        ],
    }


def _reviewer(answers: Sequence[Answered], name: str, min_checks: float) -> dict[str, Any]:
    own = [each for each in answers if each.reviewer == name and each.is_complete]
    passed = [set(each.answer.values()) == {"no"} for each in own if each.kind == "check"]
    return {
        "num_answered": len(own),
        "num_checks": len(passed),
        "num_passed": sum(passed),
        "median_seconds": round(median(each.seconds for each in own), 1) if own else None,
        "is_left_out": min_checks > 0 and (not passed or sum(passed) / len(passed) < min_checks),
    }


def _shares(
    ratings: Sequence[Answered], model: str, questions: Mapping[str, Sequence[str]], settings: EvaluateSettings
) -> dict[str, Any]:
    """Of one model: the share of each question's best choice."""
    own = [each for each in ratings if each.models == (model,)]
    weight_N = np.array([1 / each.share for each in own])
    rows = np.arange(len(own))
    measures = {
        name: Measure(
            f"Share of answers “{choices[0]}”, weighted to the rows that were not drawn.",
            _mean([each.answer[name] == choices[0] for each in own], weight_N, rows),
            reason=_NO_ANSWER,
            extra={"choices": _counted([each.answer[name] for each in own], choices)},
        )
        for name, choices in questions.items()
    }
    first, *_ = questions
    is_right = np.array([each.label == each.decisions[0] for each in own], dtype=bool)
    is_known = np.array([each.label is not None for each in own], dtype=bool)
    for name, chosen in (("right", is_right & is_known), ("wrong", ~is_right & is_known)):
        some = np.flatnonzero(chosen)
        measures[f"{first}_where_{name}"] = Measure(
            f"The same of {first}, where the decision is {name} by the known label.",
            _mean([own[row].answer[first] == questions[first][0] for row in some], weight_N[some], some),
            reason=_NO_ANSWER,
        )
    return _entries(own, measures, settings)


def _counted(given: Sequence[str], choices: Sequence[str]) -> dict[str, int]:
    counts = Counter(given)
    return {choice: counts[choice] for choice in choices}


def _agreement(
    ratings: Sequence[Answered], question: str, choices: Sequence[str], settings: EvaluateSettings
) -> dict[str, Any]:
    names = sorted({each.reviewer for each in ratings})
    by_item: dict[str, dict[str, int]] = {}
    one_of: dict[str, Answered] = {}
    for each in ratings:
        by_item.setdefault(each.item, {})[each.reviewer] = list(choices).index(each.answer[question])
        one_of[each.item] = each
    items = list(by_item)
    counts = np.array(
        [np.bincount(list(by_item[item].values()), minlength=len(choices)) for item in items], dtype=np.int64
    ).reshape(len(items), len(choices))
    full = np.flatnonzero(counts.sum(axis=1) == len(names)) if len(names) > 1 else np.zeros(0, dtype=np.int64)
    measures = {
        "fleiss": Measure(
            "Fleiss' kappa of the items that every reviewer answered.",
            Statistic(lambda weight: fleiss_kappa(counts[full], weight), full),
            reason=_NO_OVERLAP,
        ),
        "krippendorff": Measure(
            "Krippendorff's alpha (nominal) of all items.",
            Statistic(lambda weight: krippendorff_alpha(counts, weight), np.arange(len(items))),
            reason=_NO_OVERLAP,
        ),
    }
    for first, second in combinations(names, 2):
        both = np.array(
            [row for row, item in enumerate(items) if {first, second} <= set(by_item[item])], dtype=np.int64
        )
        measures[f"cohen: {first}, {second}"] = Measure(
            "Cohen's kappa of the items that both answered.",
            _cohen([by_item[items[row]][first] for row in both], [by_item[items[row]][second] for row in both], both),
            reason=_NO_OVERLAP,
        )
    return _entries([one_of[item] for item in items], measures, settings)


def _cohen(first: Sequence[int], second: Sequence[int], rows: IntArray) -> Statistic:
    num_classes = max([1, *first, *second]) + 1
    return Statistic(lambda weight: cohen_kappa(first, second, num_classes=num_classes, weight=weight), rows)


def _preference(answers: Sequence[Answered], pair: tuple[str, str], settings: EvaluateSettings) -> dict[str, Any]:
    """How much oftener the first model's reason is preferred than the second's; ties count as neither."""
    points = {"first": 1, "no difference": 0, "second": -1}
    values = [points[each.answer["preferred"]] * (1 if each.models == pair else -1) for each in answers]
    measure = Measure(
        "Share of answers that prefer the first model's reason less the share that prefer the second's, weighted "
        "to the rows that were not drawn.",
        _mean(values, np.array([1 / each.share for each in answers]), np.arange(len(answers))),
        reason=_NO_ANSWER,
    )
    counts = Counter(values)
    return {
        "first": pair[0],
        "second": pair[1],
        "num_first": counts[1],
        "num_ties": counts[0],
        "num_second": counts[-1],
        **_entries(answers, {"net": measure}, settings),
    }


def _mean(values: Sequence[float], own: FloatArray, rows: IntArray) -> Statistic:
    value_N = np.asarray(values, dtype=np.float64)
    return Statistic(lambda weight: ratio((weight * own) @ value_N, (weight * own).sum(-1)), rows)


def _entries(
    rows: Sequence[Answered], measures: Mapping[str, Measure], settings: EvaluateSettings
) -> dict[str, dict[str, Any]]:
    if not rows:
        return {
            name: {"value": None, "low": None, "high": None, "n": 0, "num_groups": 0, "reason": _NO_ANSWER,
                   "definition": each.definition, **each.extra}
            for name, each in measures.items()
        }  # fmt: skip
    draws = draw_groups(
        [each.group for each in rows], np.zeros(len(rows)), num_draws=settings.num_bootstrap, seed=settings.seed
    )
    return entries(measures, draws, confidence=settings.confidence)
