"""Figures over several seeds of one recipe: their mean with an interval of the test rows, the seeds shown apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from clsgen.config.prediction import EvaluateSettings
from clsgen.errors import DataError
from clsgen.evaluation.arrays import FloatArray
from clsgen.evaluation.evaluate import Context
from clsgen.evaluation.intervals import Statistic, cluster_bootstrap, draw_groups
from clsgen.evaluation.measure_explanations import explanation_measures
from clsgen.evaluation.measure_probability import probability_measures
from clsgen.evaluation.measures import Measure, entries
from clsgen.evaluation.table import Table, tabulate
from clsgen.types import Prediction, TaskSpec

Seeds = Sequence[Sequence[Prediction]]
"""Predictions of the same rows, one sequence a seed."""


def summarise(
    seeds: Seeds,
    spec: TaskSpec,
    *,
    settings: EvaluateSettings,
    context: Context | None = None,
) -> dict[str, dict[str, Any]]:
    """Mean over seeds of every figure, its interval over test rows, and each seed's own value.

    Args:
        seeds: One set of predictions a seed, all of the same rows.
        spec: The task.
        settings: Draws, confidence, bins, seed of the bootstrap.
        context: What the explanations are measured with: documents, vocabulary, references.

    Returns:
        By name what `entries` gives, and `seeds`: the value of each seed (null where undefined).

    Raises:
        DataError: The seeds' rows differ.
    """
    tables, known = _tables(seeds, spec), context or Context()
    measured = [
        probability_measures(table, settings)
        | explanation_measures(
            table, documents=known.documents, vocabulary=known.vocabulary, references=known.references
        )
        for table in tables
    ]
    draws = draw_groups(tables[0].group, tables[0].label_N, num_draws=settings.num_bootstrap, seed=settings.seed)
    mean = {name: _mean([each[name] for each in measured], len(tables[0].group)) for name in measured[0]}
    found = entries(mean, draws, confidence=settings.confidence)
    for name, entry in found.items():
        entry["seeds"] = [_value(each[name]) for each in measured]
    return found


def compare(
    first: Seeds, second: Seeds, spec: TaskSpec, *, settings: EvaluateSettings, names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Paired difference first - second of the means over seeds, on the same draws of groups.

    Args:
        first: Predictions a seed.
        second: Predictions a seed of another recipe, of the same rows; its number of seeds may differ.
        spec: The task.
        settings: Draws, confidence, bins, seed of the bootstrap.
        names: Figures to compare, such as auroc.

    Returns:
        By name: difference, low, high.

    Raises:
        DataError: The rows differ.
    """
    tables = _tables([*first, *second], spec)
    measured = [probability_measures(table, settings) for table in tables]
    num_rows = len(tables[0].group)
    draws = draw_groups(tables[0].group, tables[0].label_N, num_draws=settings.num_bootstrap, seed=settings.seed)
    statistics = {}
    for name in names:
        ours, theirs = (
            _mean([each[name] for each in part], num_rows).statistic
            for part in (measured[: len(first)], measured[len(first) :])
        )
        assert ours is not None
        assert theirs is not None
        statistics[name] = Statistic(_difference(ours, theirs), ours.rows)
    found = cluster_bootstrap(statistics, draws, confidence=settings.confidence)
    return {name: {"difference": each.estimate, "low": each.low, "high": each.high} for name, each in found.items()}


def _difference(first: Statistic, second: Statistic) -> Callable[[FloatArray], FloatArray]:
    return lambda weight: first.compute(weight) - second.compute(weight)


def _tables(seeds: Seeds, spec: TaskSpec) -> list[Table]:
    tables = [tabulate(predictions, spec) for predictions in seeds]
    if not tables:
        raise DataError("seeds: predictions must be there of one seed or more; got none.")
    for table in tables[1:]:
        if [row.id for row in table.predictions] != [row.id for row in tables[0].predictions]:
            raise DataError("seeds: every seed must predict the same rows; their ids differ. Predict them all.")
    return tables


def _mean(measures: Sequence[Measure], num_rows: int) -> Measure:
    """One measure over all rows that is the mean of the seeds'; a point stays a point."""
    if any(measure.statistic is None for measure in measures):
        points = [measure.point for measure in measures if measure.point is not None]
        point = float(np.mean(points)) if len(points) == len(measures) else None
        return replace(measures[0], statistic=None, point=point, extra={})
    return replace(measures[0], statistic=Statistic(_mean_of(measures), np.arange(num_rows)), extra={})


def _mean_of(measures: Sequence[Measure]) -> Callable[[FloatArray], FloatArray]:
    statistics = [measure.statistic for measure in measures if measure.statistic is not None]

    def compute(weight: FloatArray) -> FloatArray:
        values = [statistic.compute(weight[..., statistic.rows]) for statistic in statistics]
        mean: FloatArray = np.mean(values, axis=0)
        return mean

    return compute


def _value(measure: Measure) -> float | None:
    value = measure.point
    if measure.statistic is not None:
        value = float(measure.statistic.compute(np.ones(len(measure.statistic.rows))))
    return None if value is None or math.isnan(value) else value


def spread(entry: Mapping[str, Any]) -> tuple[float, float] | None:
    """Smallest and largest seed of an entry of `summarise`; None where a seed is undefined."""
    values = entry["seeds"]
    return None if any(value is None for value in values) else (min(values), max(values))
