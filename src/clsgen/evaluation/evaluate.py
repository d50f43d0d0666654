"""Judges predictions: a table of figures, each with its definition, its n, its interval, or why it is null."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clsgen.config.prediction import EvaluateSettings
from clsgen.errors import ConfigError
from clsgen.evaluation.intervals import Draws, draw_groups
from clsgen.evaluation.measure_abstention import abstention_measures
from clsgen.evaluation.measure_explanations import explanation_measures
from clsgen.evaluation.measure_probability import probability_measures, risk_measures
from clsgen.evaluation.measures import Measure, entries
from clsgen.evaluation.subgroups import class_figures, subgroup_figures
from clsgen.evaluation.table import Table, tabulate
from clsgen.types import Prediction, Role, TaskSpec


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of the rows beside their predictions.

    Attributes:
        split: The role of the rows; every result says it.
        documents: Document by id, for grounding; None: grounding is null.
        vocabulary: Words of the training documents (`explanations.vocabulary_of`); None: readability is null.
        true_risk: P(positive) by id where it is known by construction (synthetic notes); None: not compared.
        references: Reference explanation by id, of rows that have one.
        recovered: Label that a blind reader gives each written reason, by id; None: no reader.
        columns: Name -> value by id, of what the rows are judged by apart (sex, site).
    """

    split: Role = "test"
    documents: Mapping[str, str] | None = None
    vocabulary: frozenset[str] | None = None
    true_risk: Mapping[str, float] | None = None
    references: Mapping[str, str] | None = None
    recovered: Mapping[str, str] | None = None
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def evaluate(
    predictions: Sequence[Prediction],
    spec: TaskSpec,
    *,
    settings: EvaluateSettings,
    context: Context | None = None,
) -> dict[str, Any]:
    """Gives what metrics.json holds of one set of predictions; the order of rows changes nothing.

    Args:
        predictions: Anybody's predictions of one model on one split; rows without label count in the text metrics.
        spec: The task; its labels fix the order of classes.
        settings: Draws, confidence, bins, seed.
        context: Documents, vocabulary, true risks; None: nothing is known beside the predictions.

    Returns:
        JSON values: split, num_rows, num_groups, num_unlabelled, num_by_label, labels, positive, threshold,
        truncated_share (rows whose document was cut), bootstrap (how intervals were made), and, in `metrics` and
        `explanations`, by name: value, low, high, n, num_groups, definition, and a reason where value or interval is
        null; `classes` (confusion matrix, and each class against the rest where there are more than two); and
        `subgroups`, by column. No text of any row is in it.

    Raises:
        DataError: An id twice, labels or probabilities that don't fit the task, a row without document or true risk.
    """
    known = Context() if context is None else context
    table = tabulate(predictions, spec)
    columns = {name: [of.get(row.id) for row in table.predictions] for name, of in known.columns.items()}
    return evaluate_table(table, settings=settings, known=known, columns=columns)


def evaluate_table(
    table: Table, *, settings: EvaluateSettings, known: Context, columns: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """`evaluate` of rows that are arrays already.

    Args:
        table: The rows.
        settings: Draws, confidence, bins, seed.
        known: Documents, vocabulary, true risks; its columns are not read.
        columns: Name -> value of each row of the table, of what they are judged by apart.

    Raises:
        ConfigError: settings.figures names what is none.
    """
    draws = draw_groups(table.group, table.label_N, num_draws=settings.num_bootstrap, seed=settings.seed)
    metrics = _wanted(probability_measures(table, settings) | abstention_measures(table), settings.figures)
    if known.true_risk is not None:
        metrics |= risk_measures(table, known.true_risk)
    explanations = explanation_measures(
        table,
        documents=known.documents,
        vocabulary=known.vocabulary,
        references=known.references,
        recovered=known.recovered,
    )
    return {
        "split": known.split,
        **_counts(table),
        "bootstrap": _method(draws, settings),
        "metrics": entries(metrics, draws, confidence=settings.confidence),
        "explanations": entries(explanations, draws, confidence=settings.confidence),
        "classes": class_figures(table, settings=settings),
        "subgroups": subgroup_figures(table, columns, settings=settings),
    }


def _wanted(measures: dict[str, Measure], figures: Sequence[str] | None) -> dict[str, Measure]:
    if figures is None:
        return measures
    for name in figures:
        if name not in measures:
            nearest = difflib.get_close_matches(name, measures, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise ConfigError(f"eval: figures must be among {', '.join(measures)}; got {name!r}.{hint}")
    return {name: measure for name, measure in measures.items() if name in figures}


def _counts(table: Table) -> dict[str, Any]:
    return {
        "num_rows": len(table.label_N),
        "num_groups": len(np.unique(table.group)),
        "num_unlabelled": int((table.label_N < 0).sum()),
        "num_by_label": {label: int((table.label_N == c).sum()) for c, label in enumerate(table.spec.labels)},
        "labels": list(table.spec.labels),
        "positive": table.spec.positive,
        "threshold": table.threshold,
        "truncated_share": None if table.cut_N is None else float(np.mean(table.cut_N)),
    }


def _method(draws: Draws, settings: EvaluateSettings) -> dict[str, Any]:
    return {
        "method": "percentile interval, cluster bootstrap by group; it covers the sampling of rows, not the seeds",
        "num_draws": len(draws.count_RG),
        "num_redrawn": draws.num_redrawn,
        "confidence": settings.confidence,
        "seed": settings.seed,
    }
