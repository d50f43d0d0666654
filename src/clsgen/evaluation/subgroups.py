"""The same figures in parts of the rows: by any column, and by class."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from clsgen.config.prediction import EvaluateSettings
from clsgen.errors import DataError
from clsgen.evaluation.arrays import IntArray
from clsgen.evaluation.intervals import draw_groups
from clsgen.evaluation.measure_probability import probability_measures
from clsgen.evaluation.measures import entries
from clsgen.evaluation.table import Table

FIGURES = (
    "auroc",
    "auprc",
    "brier",
    "log_loss",
    "ece",
    "ece_reference",
    "calibration_in_the_large",
    "accuracy",
    "f1",
    "sensitivity",
    "specificity",
    "ppv",
)
"""What is given of a part; each as metrics.json defines it of all rows."""

SMALL_ROWS = 100
SMALL_CLASS = 10
"""A part with fewer rows, or fewer rows of some class, than these carries a warning."""

SMALL_GROUPS = 10
"""With fewer groups, intervals from draws of them are too narrow."""

MAX_VALUES = 20
MAX_NUMBERS = 12
_NUM_BANDS = 4
_NONE = "(none)"
_CODE = re.compile(r"\s*0\d")
_KEPT = ("value", "low", "high", "n", "numerator", "denominator", "reason", "num_undefined_draws")
"""Of an entry of metrics.json, what is given of a part."""


def subgroup_figures(
    table: Table, columns: Mapping[str, Sequence[Any]], *, settings: EvaluateSettings
) -> dict[str, list[dict[str, Any]]]:
    """Figures of the rows with each value of each column, with intervals from draws of that part's own groups.

    Args:
        table: The rows.
        columns: Name -> value of each row, in the order of the table. Numbers with more than MAX_NUMBERS different
            values are put into quarters (texts with leading zeros are codes, not numbers); None and "" are a part of
            their own, "(none)".
        settings: Draws, confidence, bins, seed.

    Returns:
        By column, a list of parts in order: value, num_rows, num_groups, num_by_label, `figures` (entries as in
        metrics.json, without definitions), and `warning` where the part is small.

    Raises:
        DataError: A column is of another length, or of more than MAX_VALUES texts.
    """
    return {name: _of_column(table, name, values, settings) for name, values in columns.items()}


def check_column(name: str, values: Sequence[Any]) -> None:
    """Raise a DataError where a column can't be judged by: too many different texts."""
    _parts(name, values)


def class_figures(table: Table, *, settings: EvaluateSettings) -> dict[str, Any]:
    """Of more than two classes: the confusion matrix, and figures of each class against the rest.

    Returns:
        `matrix`: rows are the known labels, columns the decided ones, counts; `by_class`: parts like those of
        `subgroup_figures`, of all rows each; `cumulative`: of ordered labels, each label or an earlier one against the
        later ones.
    """
    is_known = table.label_N >= 0
    num_labels = table.spec.num_labels
    cell = table.label_N[is_known] * num_labels + table.decided_N[is_known]
    matrix = np.bincount(cell, minlength=num_labels**2).reshape(num_labels, num_labels)
    parts = []
    if not table.is_binary:
        parts = [_part(table.one_vs_rest(index), label, settings) for index, label in enumerate(table.spec.labels)]
    sums = []
    if table.spec.is_ordered:
        sums = [
            _part(table.up_to(index), f"{label} or earlier", settings)
            for index, label in enumerate(table.spec.labels[:-1])
        ]
    return {"matrix": matrix.tolist(), "by_class": parts, "cumulative": sums}


def _of_column(table: Table, name: str, values: Sequence[Any], settings: EvaluateSettings) -> list[dict[str, Any]]:
    if len(values) != len(table.label_N):
        raise DataError(
            f"subgroups: {name} must hold a value for each of {len(table.label_N)} rows; got {len(values)}."
        )
    return [_part(table.take(rows), value, settings) for value, rows in _parts(name, values).items()]


def _parts(name: str, values: Sequence[Any]) -> dict[str, IntArray]:
    """Rows of each value in the order that they are shown."""
    is_absent = np.array([value is None or value in ("", _NONE) or value != value for value in values])
    present = [value for value, absent in zip(values, is_absent, strict=True) if not absent]
    numbers = [value for value in map(_number, present) if value is not None]
    if len(numbers) == len(present) and len(set(numbers)) > MAX_NUMBERS:
        filled = np.full(len(values), np.nan)
        filled[~is_absent] = numbers
        parts = _quarters(filled)
    else:
        texts = np.array(["" if absent else str(value) for value, absent in zip(values, is_absent, strict=True)])
        names = sorted(set(map(str, present)), key=_natural)
        if len(names) > MAX_VALUES:
            raise DataError(
                f"subgroups: {name} must hold numbers, or at most {MAX_VALUES} different values; got {len(names)}. "
                "Put them into fewer groups first."
            )
        parts = {value: np.flatnonzero((texts == value) & ~is_absent) for value in names}
    if is_absent.any():
        parts[_NONE] = np.flatnonzero(is_absent)
    return parts


def _quarters(number_N: Any) -> dict[str, IntArray]:
    """Quarters of the rows by a number; of equal numbers all stand in one quarter."""
    edges = np.nanquantile(number_N, np.linspace(0, 1, _NUM_BANDS + 1), method="inverted_cdf")
    bands = []
    for index, (low, high) in enumerate(pairwise(edges)):
        is_in = (number_N <= high) & ((number_N > low) if index else (number_N >= low))
        if is_in.any():
            bands.append(np.flatnonzero(is_in))
    ends = [(float(number_N[rows].min()), float(number_N[rows].max())) for rows in bands]
    spelled = _spelled([end for pair in ends for end in pair])
    return {f"{spelled[low]} to {spelled[high]}": rows for (low, high), rows in zip(ends, bands, strict=True)}


def _spelled(numbers: Sequence[float]) -> dict[float, str]:
    """Each number in as few digits, six or more, as tell all of them apart; whole ones in full."""
    for digits in range(6, 18):
        found = {
            number: f"{number:.0f}" if number.is_integer() and abs(number) < 1e15 else f"{number:.{digits}g}"
            for number in numbers
        }
        if len(set(found.values())) == len(found):
            break
    return found


def _part(table: Table, value: str, settings: EvaluateSettings) -> dict[str, Any]:
    draws = draw_groups(table.group, table.label_N, num_draws=settings.num_bootstrap, seed=settings.seed)
    measures = probability_measures(table, settings)
    found = entries(
        {name: measures[name] for name in FIGURES if name in measures and name in (settings.figures or FIGURES)},
        draws,
        confidence=settings.confidence,
    )
    counts = {label: int((table.label_N == index).sum()) for index, label in enumerate(table.spec.labels)}
    num_groups = len(np.unique(table.group))
    part = {
        "value": value,
        "num_rows": len(table.label_N),
        "num_groups": num_groups,
        "num_by_label": counts,
        "figures": {name: {key: entry[key] for key in _KEPT if key in entry} for name, entry in found.items()},
    }
    if sum(counts.values()) < SMALL_ROWS or min(counts.values()) < SMALL_CLASS:
        few = ", ".join(f"{count} {label}" for label, count in counts.items())
        part["warning"] = f"small ({few}): these figures say little"
    elif num_groups < SMALL_GROUPS:
        part["warning"] = f"{num_groups} groups: intervals from so few are too narrow"
    return part


def _number(value: Any) -> float | None:
    """A number, or a text that spells a finite one; booleans are texts, and codes that begin with a zero."""
    if isinstance(value, bool) or (isinstance(value, str) and _CODE.match(value)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _natural(value: str) -> tuple[int, float, str]:
    """Sorts numbers as numbers, before texts."""
    number = _number(value)
    return (1, 0.0, value) if number is None else (0, number, value)
