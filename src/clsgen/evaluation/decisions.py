"""Metrics of decided labels: the 2 x 2 table, accuracy, F1, Cohen's kappa.

Labels are class indices (N,). `weight` (..., N) and the returned shape are as in metrics.py; NaN means undefined.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from clsgen.errors import DataError
from clsgen.evaluation.arrays import FloatArray, IntArray, checked_label, checked_weight, ratio, weighted_mean


class Confusion(NamedTuple):
    """The 2 x 2 table of decisions against labels; each count has the weight's leading shape."""

    true_positive: FloatArray
    false_positive: FloatArray
    false_negative: FloatArray
    true_negative: FloatArray

    @property
    def sensitivity(self) -> FloatArray:
        """Share of positive rows decided positive (recall); NaN without a positive row."""
        return ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> FloatArray:
        """Share of negative rows decided negative; NaN without a negative row."""
        return ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def ppv(self) -> FloatArray:
        """Share of rows decided positive that are (precision); NaN where none is decided positive."""
        return ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def npv(self) -> FloatArray:
        """Share of rows decided negative that are; NaN where none is decided negative."""
        return ratio(self.true_negative, self.true_negative + self.false_negative)

    @property
    def accuracy(self) -> FloatArray:
        """Share of rows decided rightly; NaN without a row."""
        return ratio(self.true_positive + self.true_negative, sum(self))

    @property
    def f1(self) -> FloatArray:
        """2 TP / (2 TP + FP + FN); NaN without a positive row."""
        has_positive = self.true_positive + self.false_negative > 0
        both = 2 * self.true_positive + self.false_positive + self.false_negative
        return ratio(2 * self.true_positive, np.where(has_positive, both, 0.0))

    @property
    def mcc(self) -> FloatArray:
        """Matthews' correlation, -1 to 1; NaN where a row or column of the table is empty."""
        tp, fp, fn, tn = self
        return ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def confusion(decided: ArrayLike, label: ArrayLike, *, weight: ArrayLike | None = None) -> Confusion:
    """Counts decisions against labels, both 0 or 1; at a threshold t pass `prob >= t`, so that p = t is positive.

    Empty input gives zeros, and every share of them is NaN.

    One of two positives found, one of two negatives called positive:

    >>> table = confusion([1, 0, 1, 0], [1, 1, 0, 0])
    >>> float(table.sensitivity), float(table.specificity), float(table.ppv), float(table.mcc)
    (0.5, 0.5, 0.5, 0.0)
    """
    decided_N, label_N, weight_N = _checked_pair("confusion", decided, label, num_classes=2, weight=weight)
    cells = [(1, 1), (1, 0), (0, 1), (0, 0)]
    return Confusion(*(_mass((decided_N == d) & (label_N == y), weight_N) for d, y in cells))


def accuracy(decided: ArrayLike, label: ArrayLike, *, num_classes: int, weight: ArrayLike | None = None) -> FloatArray:
    """Share of rows whose decision is their label. Higher is better; empty input: NaN.

    >>> float(accuracy([0, 1, 2, 2], [0, 1, 2, 0], num_classes=3))
    0.75
    """
    pair = _checked_pair("accuracy", decided, label, num_classes=num_classes, weight=weight)
    return weighted_mean((pair.first == pair.second).astype(np.float64), pair.weight)


def f1(decided: ArrayLike, label: ArrayLike, *, num_classes: int = 2, weight: ArrayLike | None = None) -> FloatArray:
    """F1 of class 1 with two classes; with more, the mean of each class's F1 (macro).

    Direction: higher is better. A class that has rows but is never decided counts 0; a class without rows makes
    it NaN, and so does empty input. F1 depends on the prevalence: never lead with it.

    >>> round(float(f1([1, 1, 0], [1, 0, 0])), 4)
    0.6667

    Classes 0 and 1 as above the other way round (2/3, 2/3), class 2 perfect:

    >>> round(float(f1([0, 0, 1, 2], [0, 1, 1, 2], num_classes=3)), 4)
    0.7778
    """
    pair = _checked_pair("f1", decided, label, num_classes=num_classes, weight=weight)
    classes = [1] if num_classes == 2 else range(num_classes)
    each = [confusion(pair.first == c, pair.second == c, weight=pair.weight).f1 for c in classes]
    return np.asarray(np.mean(each, axis=0))


def cohen_kappa(
    first: ArrayLike, second: ArrayLike, *, num_classes: int, weight: ArrayLike | None = None
) -> FloatArray:
    """Cohen's kappa: agreement beyond the chance agreement of the two margins, (p_o - p_e) / (1 - p_e).

    1 is full agreement, 0 what chance gives, below 0 worse than that. Symmetric. NaN where both use one and the
    same label throughout (p_e = 1), and for empty input. Cohen (1960), Educational and Psychological Measurement.

    Agreement 3/4; margins (1/2, 1/2) and (1/4, 3/4) give p_e = 1/2; kappa = (3/4 - 1/2) / (1/2).

    >>> float(cohen_kappa([0, 0, 1, 1], [0, 1, 1, 1], num_classes=2))
    0.5
    """
    first_N, second_N, weight_N = _checked_pair("cohen_kappa", first, second, num_classes=num_classes, weight=weight)
    total = weight_N.sum(-1)
    agreed = _mass(first_N == second_N, weight_N)
    by_chance = np.zeros_like(total)
    for c in range(num_classes):
        by_chance = by_chance + _mass(first_N == c, weight_N) * _mass(second_N == c, weight_N)
    return ratio(agreed * total - by_chance, total * total - by_chance)


class _Pair(NamedTuple):
    first: IntArray
    second: IntArray
    weight: FloatArray


def _checked_pair(
    where: str, first: ArrayLike, second: ArrayLike, *, num_classes: int, weight: ArrayLike | None
) -> _Pair:
    first_N = checked_label(where, first, num_classes=num_classes)
    second_N = checked_label(where, second, num_classes=num_classes)
    if len(first_N) != len(second_N):
        raise DataError(f"{where}: both label arrays must be of one length; got {len(first_N)} and {len(second_N)}.")
    return _Pair(first_N, second_N, checked_weight(where, weight, num_rows=len(first_N)))


def _mass(is_counted: np.ndarray, weight: FloatArray) -> FloatArray:
    return np.asarray(weight @ is_counted.astype(np.float64))
