"""Standard error, interval and paired test of an AUROC: DeLong's where each row stands alone, else Obuchowski's.

Rows of one group are not independent, so their structural components are summed before they are squared.
DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44(3); Obuchowski (1997), Biometrics 53(2). Midranks as in Sun and
Xu (2014), IEEE Signal Processing Letters 21(11): no table of pairs.

K systems judged on the same rows, N rows, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from clsgen.errors import DataError
from clsgen.evaluation.arrays import FloatArray, IntArray, checked


class AurocInterval(NamedTuple):
    """An AUROC with its Wald interval, cut to [0, 1]; NaN throughout where a class has no row.

    Attributes:
        estimate: The area.
        standard_error: Of the estimate; NaN where a class stands in one group only, and where no pair is out of order
            or none is in order: rows without a single exception don't show how much others would differ.
        low: Lower end; NaN without a standard error.
        high: Upper end.
        method: DeLong or Obuchowski.
    """

    estimate: float
    standard_error: float
    low: float
    high: float
    method: str


class AurocDifference(NamedTuple):
    """Two AUROCs of the same rows compared.

    Attributes:
        difference: First less second.
        standard_error: Of the difference; 0 where both order every row alike; NaN where it can't be told: a class in
            one group only, or areas that differ with no variance.
        low: Lower end of its Wald interval.
        high: Upper end.
        p_value: Two-sided, of a difference of 0; 1 where both order every row alike.
        method: DeLong or Obuchowski.
    """

    difference: float
    standard_error: float
    low: float
    high: float
    p_value: float
    method: str


def auroc_interval(prob: ArrayLike, label: ArrayLike, group: ArrayLike, *, confidence: float = 0.95) -> AurocInterval:
    """The AUROC of one system with its interval.

    Args:
        prob: (N,) probability of the positive class.
        label: (N,) 0 or 1.
        group: (N,) name of each row's group.
        confidence: Coverage of the interval.

    Raises:
        DataError: A value that can't be used, or lengths that differ.

    Of two positives (0.35, 0.8) and two negatives (0.1, 0.4) 3 of 4 pairs are in order. Components of the positives 1/2
    and 1, of the negatives 1 and 1/2: each variance is 1/8, and the standard error sqrt(1/16 + 1/16).

    >>> found = auroc_interval([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], ["a", "b", "c", "d"])
    >>> found.estimate, round(found.standard_error, 4), found.method
    (0.75, 0.3536, 'DeLong')
    """
    theta_K, covariance_KK, method = _areas([prob], label, group)
    error = _root(covariance_KK[0, 0]) or math.nan
    reach = _reach(confidence) * error
    estimate = float(theta_K[0])
    return AurocInterval(estimate, error, *_cut(estimate - reach, estimate + reach), method)


def auroc_difference(
    first: ArrayLike, second: ArrayLike, label: ArrayLike, group: ArrayLike, *, confidence: float = 0.95
) -> AurocDifference:
    """The AUROCs of two systems on the same rows: difference, interval, test.

    Args:
        first: (N,) probabilities of one system.
        second: (N,) probabilities of the other.
        label: (N,) 0 or 1.
        group: (N,) name of each row's group.
        confidence: Coverage of the interval.

    Raises:
        DataError: A value that can't be used, or lengths that differ.

    >>> same = auroc_difference([0.1, 0.9, 0.4, 0.3], [0.2, 0.8, 0.6, 0.5], [0, 1, 1, 0], ["a", "b", "c", "d"])
    >>> same.difference, same.p_value
    (0.0, 1.0)
    """
    theta_K, covariance_KK, method = _areas([first, second], label, group)
    difference = float(theta_K[0] - theta_K[1])
    variance = float(covariance_KK[0, 0] + covariance_KK[1, 1] - 2 * covariance_KK[0, 1])
    # Below rounding both order the rows alike.
    error = 0.0 if abs(variance) < 1e-15 and difference == 0 else _root(variance) or math.nan
    reach = _reach(confidence) * error
    p_value = 1.0 if error == 0 else 2 * float(ndtr(-abs(difference) / error))
    return AurocDifference(difference, error, difference - reach, difference + reach, p_value, method)


def _areas(probs: Sequence[ArrayLike], label: ArrayLike, group: ArrayLike) -> tuple[FloatArray, FloatArray, str]:
    """Areas (K,), their covariance (K, K), and the method's name."""
    rows = [checked("auroc_interval", prob, label, None) for prob in probs]
    if any(each.prob.ndim != 1 for each in rows):
        raise DataError("auroc_interval: prob must be of shape (N,), two classes; got one column a class.")
    label_N = rows[0].label
    names, group_N = np.unique(np.asarray(group), return_inverse=True)
    if group_N.shape != label_N.shape:
        raise DataError(f"auroc_interval: group must be as long as label ({len(label_N)}); got {len(group_N)}.")
    method = "DeLong" if len(names) == len(label_N) else "Obuchowski"
    num_systems, num_positive = len(rows), int(label_N.sum())
    num_negative = len(label_N) - num_positive
    if not num_positive or not num_negative:
        return np.full(num_systems, np.nan), np.full((num_systems, num_systems), np.nan), method
    theta, positive_KG, negative_KG = [], [], []
    for each in rows:
        above_P, below_M = _components(each.prob, label_N)
        area = float(above_P.mean())
        theta.append(area)
        positive_KG.append(_by_group(above_P - area, group_N[label_N == 1], len(names)))
        negative_KG.append(_by_group(below_M - area, group_N[label_N == 0], len(names)))
    with_positive, with_negative = (len(np.unique(group_N[label_N == c])) for c in (1, 0))
    num_groups = (with_positive, with_negative, len(names))
    covariance = _covariance(np.array(positive_KG), np.array(negative_KG), (num_positive, num_negative), num_groups)
    return np.array(theta), covariance, method


def _components(prob_N: FloatArray, label_N: IntArray) -> tuple[FloatArray, FloatArray]:
    """Of each positive, the share of negatives below it; of each negative, the share of positives above it."""
    is_positive = label_N == 1
    ranks_N = rankdata(prob_N)
    positive, negative = ranks_N[is_positive], ranks_N[~is_positive]
    above = (positive - rankdata(prob_N[is_positive])) / len(negative)
    below = 1 - (negative - rankdata(prob_N[~is_positive])) / len(positive)
    return above, below


def _by_group(value: FloatArray, group: IntArray, num_groups: int) -> FloatArray:
    return np.asarray(np.bincount(group, weights=value, minlength=num_groups), dtype=np.float64)


def _covariance(
    positive_KG: FloatArray, negative_KG: FloatArray, num_rows: tuple[int, int], num_groups: tuple[int, int, int]
) -> FloatArray:
    """Obuchowski's covariance; with a row a group it is DeLong's. NaN where a class stands in one group only."""
    (num_positive, num_negative), (with_positive, with_negative, total) = num_rows, num_groups
    if min(with_positive, with_negative) < 2:
        return np.full((len(positive_KG), len(positive_KG)), np.nan)
    first = with_positive / (with_positive - 1) * (positive_KG @ positive_KG.T) / num_positive**2
    second = with_negative / (with_negative - 1) * (negative_KG @ negative_KG.T) / num_negative**2
    cross = total / (total - 1) * (positive_KG @ negative_KG.T) / (num_positive * num_negative)
    return np.asarray(first + second + cross + cross.T)


def _reach(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise DataError(f"auroc_interval: confidence must be between 0 and 1; got {confidence!r}.")
    return float(ndtri((1 + confidence) / 2))


def _root(variance: float) -> float:
    return math.sqrt(variance) if variance >= 0 else (0.0 if variance > -1e-15 else float("nan"))


def _cut(low: float, high: float) -> tuple[float, float]:
    return (max(0.0, low), min(1.0, high)) if not math.isnan(low) else (low, high)
