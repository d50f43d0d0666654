"""A figure on its way to metrics.json: how it is computed, what it means, and why it may be null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clsgen.evaluation.intervals import TOO_FEW, Draws, Statistic, cluster_bootstrap


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of the table.

    Attributes:
        definition: What is measured, in a sentence: the same name means other things elsewhere.
        statistic: How it is computed of weighted rows; None where it can't be.
        reason: Why the value is null, should it be undefined (or have no statistic).
        point: The value of a figure that has no interval; None for all others.
        no_interval: Why a point has none.
        num_rows: Rows that a point reads.
        extra: Counts to stand beside the value; JSON values.
    """

    definition: str
    statistic: Statistic | None = None
    reason: str = ""
    point: float | None = None
    no_interval: str = ""
    num_rows: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)


def entries(measures: Mapping[str, Measure], draws: Draws, *, confidence: float) -> dict[str, dict[str, Any]]:
    """Computes all measures with the same draws, and gives what metrics.json holds of each.

    Returns:
        By name: value, low, high (null where undefined), n, num_groups, definition; `reason` wherever the value or
        its interval is null; num_undefined_draws where there are any; and the measure's extra counts.
    """
    statistics = {name: each.statistic for name, each in measures.items() if each.statistic is not None}
    intervals = cluster_bootstrap(statistics, draws, confidence=confidence)
    result: dict[str, dict[str, Any]] = {}
    for name, measure in measures.items():
        entry: dict[str, Any] = {"value": None, "low": None, "high": None, "n": 0, "num_groups": 0}
        reason = measure.reason
        if name in intervals:
            found = intervals[name]
            entry["value"], entry["low"], entry["high"] = (_or_null(number) for number in found[:3])
            entry["n"], entry["num_groups"] = found.num_rows, found.num_groups
            if entry["value"] is not None:
                reason = "" if entry["low"] is not None else draws.reason or TOO_FEW
            if found.num_undefined:
                entry["num_undefined_draws"] = found.num_undefined
        elif measure.point is not None:
            entry["value"], entry["n"] = _or_null(measure.point), measure.num_rows
            reason = measure.reason if entry["value"] is None else measure.no_interval
        if reason:
            entry["reason"] = reason
        result[name] = {**entry, "definition": measure.definition, **measure.extra}
    return result


def _or_null(number: float) -> float | None:
    return None if math.isnan(number) else number
