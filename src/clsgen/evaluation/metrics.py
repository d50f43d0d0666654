"""Metrics of a probability: ranking, proper scoring rules, calibration error.

All take `prob` of shape (N,), the positive class's probability with labels 0 and 1, or (N, C) with labels 0 to
C - 1. All take `weight` (..., N), such as the draw counts of R bootstrap draws, and return float64 of the
weight's leading shape: () without weight (use `float`), (R,) for R draws; whole-number weights give what
repeating the rows gives. NaN means undefined, never 0. NaN or a value outside [0, 1] in `prob` is a DataError.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from clsgen.errors import DataError
from clsgen.evaluation.arrays import Checked, FloatArray, IntArray, as_draws, checked, ratio, weighted_mean

CLIP = float(np.finfo(np.float64).eps)
"""Log loss clips probabilities to [CLIP, 1 - CLIP], as scikit-learn does: one p of 0 must not give infinity."""

_MAX_ELEMENTS = 2**21
_MAX_REDRAWN = 50_000


def auroc(prob: ArrayLike, label: ArrayLike, *, weight: ArrayLike | None = None) -> FloatArray:
    """Area under the ROC curve: the chance that a positive row ranks above a negative one.

    Direction: higher is better, 0.5 is chance. Ties count one half. Only ranks matter.
    (N, C): mean of the one-vs-rest areas, each class alike. Empty input, or a class without rows: NaN.

    Two positives (0.35, 0.8) against two negatives (0.1, 0.4): 3 of 4 pairs are in order.

    >>> float(auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]))
    0.75
    >>> float(auroc([0.5, 0.5], [0, 1])), float(auroc([0.2, 0.3], [1, 1]))
    (0.5, nan)
    """
    return _one_vs_rest(_auroc, checked("auroc", prob, label, weight))


def auprc(prob: ArrayLike, label: ArrayLike, *, weight: ArrayLike | None = None) -> FloatArray:
    """Area under the precision-recall curve as average precision: sum of (R_k - R_(k-1)) P_k, no interpolation.

    Direction: higher is better; chance is the prevalence. Tied rows enter together, so their order is nothing.
    (N, C): mean of the one-vs-rest areas. Empty input, or a class without rows: NaN.

    Ranked 0.8 (1), 0.4 (0), 0.35 (1), 0.1 (0): precision 1 at recall 1/2 and 2/3 at recall 1; 1/2 + 1/3.

    >>> round(float(auprc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])), 4)
    0.8333
    """
    return _one_vs_rest(_auprc, checked("auprc", prob, label, weight))


def brier(prob: ArrayLike, label: ArrayLike, *, weight: ArrayLike | None = None) -> FloatArray:
    """Brier score: mean squared error of the probability.

    Direction: lower is better. (N,): mean of (p - y)^2 of the positive class, from 0 to 1. (N, C): the sum of
    (p_c - y_c)^2 over all classes, from 0 to 2 (Brier's own form, 1950; with C = 2 twice the binary one).
    Ties mean nothing to it. Defined with one class; empty input: NaN.

    >>> round(float(brier([0.8, 0.4], [1, 0])), 4)
    0.1
    >>> round(float(brier([[0.2, 0.8], [0.6, 0.4]], [1, 0])), 4)
    0.2
    """
    data = checked("brier", prob, label, weight)
    if data.prob.ndim == 1:
        return weighted_mean((data.prob - data.label) ** 2, data.weight)
    return weighted_mean(((data.prob - _one_hot(data)) ** 2).sum(-1), data.weight)


def log_loss(prob: ArrayLike, label: ArrayLike, *, weight: ArrayLike | None = None) -> FloatArray:
    """Mean of -ln of the probability that the observed label was given.

    Direction: lower is better. Probabilities are clipped to [2.2e-16, 1 - 2.2e-16] (`CLIP`). Ties mean nothing
    to it. Defined with one class; empty input: NaN.

    (-ln 0.8 - ln 0.6) / 2 = (0.2231 + 0.5108) / 2.

    >>> round(float(log_loss([0.8, 0.4], [1, 0])), 4)
    0.367
    """
    data = checked("log_loss", prob, label, weight)
    if data.prob.ndim == 1:
        given = np.where(data.label == 1, data.prob, 1 - data.prob)
    else:
        given = np.take_along_axis(data.prob, data.label[:, None], axis=-1)[:, 0]
    return weighted_mean(-np.log(np.clip(given, CLIP, 1 - CLIP)), data.weight)


def ece(prob: ArrayLike, label: ArrayLike, *, num_bins: int = 15, weight: ArrayLike | None = None) -> FloatArray:
    """Expected calibration error of the positive class over equal-mass bins.

    Sum over bins of |sum of (p - y)| / N, that is |mean p - share of positives| weighted by the bin's mass.
    Bins are of equal mass, of the drawn rows where weighted; tied probabilities stay together, in the bin that
    holds their middle, so the order of rows is nothing. Direction: lower is better, but 0 is out of reach even
    of perfect probabilities: read it beside `ece_reference`. (N, C): mean of the one-vs-rest errors. Defined
    with one class; empty input: NaN.

    Two bins: |0.1 + 0.3 - 0 - 1| / 4 = 0.15 and |0.6 + 0.8 - 1 - 1| / 4 = 0.15.

    >>> round(float(ece([0.1, 0.3, 0.6, 0.8], [0, 1, 1, 1], num_bins=2)), 4)
    0.3
    """
    _check_bins("ece", num_bins)
    return _one_vs_rest(lambda p, y, w: _ece(p, y, w, num_bins), checked("ece", prob, label, weight))


def ece_width(prob: ArrayLike, label: ArrayLike, *, num_bins: int = 15, weight: ArrayLike | None = None) -> FloatArray:
    """The same over bins of equal width, [0, 1/B), [1/B, 2/B), ..., the last one closed.

    Where most probabilities are small most rows lie in one bin. Direction: lower is better. (N, C): mean of the
    one-vs-rest errors. Defined with one class; empty input: NaN.

    Two bins: |0.1 + 0.3 - 0 - 1| / 4 and |0.6 + 0.8 - 1 - 1| / 4, as p = 0.3 and 0.6 lie on either side of 1/2.

    >>> round(float(ece_width([0.1, 0.3, 0.6, 0.8], [0, 1, 1, 1], num_bins=2)), 4)
    0.3
    """
    _check_bins("ece_width", num_bins)
    return _one_vs_rest(lambda p, y, w: _ece_width(p, y, w, num_bins), checked("ece_width", prob, label, weight))


def ece_top_label(
    prob: ArrayLike, label: ArrayLike, *, num_bins: int = 15, weight: ArrayLike | None = None
) -> FloatArray:
    """Calibration error of the largest probability against whether its label is right, over equal-mass bins.

    What is often called ECE without more (Guo et al. 2017, who used bins of equal width). It says nothing of the other
    classes' probabilities. Two classes, (N,): of max(p, 1 - p); at one half the positive class. Direction: lower is
    better. Defined with one class; empty input: NaN.

    Confidences 0.9, 0.7, 0.6, 0.8, all but 0.7 right: one bin, |3.0 - 3| / 4.

    >>> float(ece_top_label([0.1, 0.3, 0.6, 0.8], [0, 1, 1, 1], num_bins=1))
    0.0
    """
    _check_bins("ece_top_label", num_bins)
    data = checked("ece_top_label", prob, label, weight)
    if data.prob.ndim == 1:
        top, first = np.maximum(data.prob, 1 - data.prob), (data.prob >= 0.5).astype(np.int64)
    else:
        first = data.prob.argmax(1) if len(data.prob) else np.zeros(0, dtype=np.int64)
        top = data.prob[np.arange(len(first)), first]
    return _ece(top, (first == data.label).astype(np.float64), data.weight, num_bins)


def ece_reference(
    prob: ArrayLike, *, num_bins: int = 15, num_draws: int = 1000, seed: int = 0, quantile: float = 0.95
) -> float:
    """The ECE that perfectly calibrated probabilities stay below 19 times out of 20, at this n and these bins.

    Labels are redrawn from `prob` itself num_draws times; the 95th percentile of their ECE is given. An ECE
    below it is no evidence of miscalibration. Rows are sorted first, so their order is nothing. Probabilities
    of 0 and 1 alone give 0. Empty input: NaN. Above 50,000 rows (N,) the sum of residuals of each bin is drawn from
    its normal limit instead of the labels one by one; (N, C) is then drawn 100 times.

    >>> ece_reference([0.0, 1.0, 1.0])
    0.0

    Every p is 0.5: one bin, |0.5 - mean y|; of two rows it is 0.5 half of the time.

    >>> ece_reference([0.5, 0.5])
    0.5
    """
    _check_bins("ece_reference", num_bins)
    given = np.asarray(prob, dtype=np.float64)
    sure = checked("ece_reference", given, np.zeros(len(given), dtype=np.int64), None).prob
    if not len(sure):
        return float("nan")
    prob_N = np.sort(sure) if sure.ndim == 1 else sure[np.lexsort(sure.T)]
    rng = np.random.default_rng(seed)
    if len(prob_N) > _MAX_REDRAWN and prob_N.ndim == 1:
        return float(np.quantile(_limit_ece(prob_N, num_bins, rng, num_draws), quantile))
    num_draws = min(num_draws, 100) if len(prob_N) > _MAX_REDRAWN else num_draws
    chunk = max(1, _MAX_ELEMENTS // len(prob_N))
    draws = [
        _redrawn_ece(prob_N, num_bins, rng.random((min(chunk, num_draws - start), len(prob_N))))
        for start in range(0, num_draws, chunk)
    ]
    return float(np.quantile(np.concatenate(draws), quantile))


def equal_mass_bins(prob: FloatArray, num_bins: int) -> list[IntArray]:
    """Rows of each bin that `ece` compares, those without rows left out; rows of one probability share a bin.

    >>> [rows.tolist() for rows in equal_mass_bins(np.array([0.3, 0.1, 0.3, 0.9]), 2)]
    [[1], [0, 2, 3]]
    """
    order, starts = _ties(prob)
    mass = np.diff(starts, append=len(prob))
    middle = num_bins * (2 * np.cumsum(mass) - mass)
    firsts = np.searchsorted(middle, 2 * len(prob) * np.arange(1, num_bins), side="left")
    cuts = np.append(starts, len(prob))[firsts]
    return [np.sort(rows) for rows in np.split(np.arange(len(prob))[order], cuts) if len(rows)]


def _ece_width(prob: FloatArray, label: FloatArray, weight: FloatArray, num_bins: int) -> FloatArray:
    in_bin = np.minimum((prob * num_bins).astype(np.int64), num_bins - 1)
    order = slice(None) if (prob[1:] >= prob[:-1]).all() else np.argsort(in_bin, kind="stable")
    starts = np.flatnonzero(np.diff(in_bin[order], prepend=-1))
    gap = np.add.reduceat((weight * (prob - label))[..., order], starts, axis=-1)
    return ratio(np.abs(gap).sum(-1), weight.sum(-1))


def _limit_ece(prob: FloatArray, num_bins: int, rng: np.random.Generator, num_draws: int) -> FloatArray:
    """ECE of redrawn labels, (R,), where every bin holds so many rows that its sum of residuals is normal."""
    order, starts = _ties(prob)
    variance = _by_prob(prob * (1 - prob), order, starts)
    mass = _by_prob(np.ones(len(prob)), order, starts)
    middle = num_bins * (2 * np.cumsum(mass) - mass)
    cuts = np.searchsorted(middle, 2 * len(prob) * np.arange(1, num_bins), side="left")
    deviation = np.sqrt([part.sum() for part in np.split(variance, cuts)])
    drawn = rng.standard_normal((num_draws, num_bins)) * deviation
    return np.asarray(np.abs(drawn).sum(1) / len(prob))


def _redrawn_ece(prob: FloatArray, num_bins: int, uniform_RN: FloatArray) -> FloatArray:
    ones = np.ones(len(prob))
    if prob.ndim == 1:
        return _ece(prob, (uniform_RN < prob).astype(np.float64), ones, num_bins)
    upper = np.cumsum(prob, axis=-1)[:, :-1]
    label_RN = (uniform_RN[..., None] >= upper).sum(-1)
    classes = range(prob.shape[1])
    each = [_ece(prob[:, c], (label_RN == c).astype(np.float64), ones, num_bins) for c in classes]
    return np.asarray(np.mean(each, axis=0))


def _check_bins(where: str, num_bins: int) -> None:
    if num_bins < 1:
        raise DataError(f"{where}: num_bins must be at least 1; got {num_bins!r}. The usual number is 15.")


def _one_hot(data: Checked) -> FloatArray:
    return np.asarray(data.label[:, None] == np.arange(data.prob.shape[1]), dtype=np.float64)


def _one_vs_rest(binary: Callable[[FloatArray, FloatArray, FloatArray], FloatArray], data: Checked) -> FloatArray:
    if data.prob.ndim == 1:
        return binary(data.prob, data.label.astype(np.float64), data.weight)
    one_hot = _one_hot(data)
    each = [binary(data.prob[:, c], one_hot[:, c], data.weight) for c in range(data.prob.shape[1])]
    return np.asarray(np.mean(each, axis=0))


def _ties(prob: FloatArray) -> tuple[IntArray | slice, IntArray]:
    """Ascending order of the rows (N,), and where in it each distinct probability starts (D,)."""
    order: IntArray | slice = slice(None)
    if (prob[1:] < prob[:-1]).any():
        order = np.argsort(prob, kind="stable")
    starts = np.flatnonzero(np.diff(prob[order], prepend=-1.0) != 0)
    return order, starts


def _by_prob(value: FloatArray, order: IntArray | slice, starts: IntArray) -> FloatArray:
    """Sums of value (..., N) at each distinct probability, (..., D)."""
    ordered = value[..., order]
    return ordered if len(starts) == ordered.shape[-1] else np.add.reduceat(ordered, starts, axis=-1)


def _auroc(prob: FloatArray, label: FloatArray, weight: FloatArray) -> FloatArray:
    order, starts = _ties(prob)
    positive = _by_prob(weight * label, order, starts)
    negative = _by_prob(weight * (1 - label), order, starts)
    negative_below = np.cumsum(negative, axis=-1) - negative
    in_order = (positive * (negative_below + negative / 2)).sum(-1)
    return ratio(in_order, positive.sum(-1) * negative.sum(-1))


def _auprc(prob: FloatArray, label: FloatArray, weight: FloatArray) -> FloatArray:
    order, starts = _ties(prob)
    positive = _by_prob(weight * label, order, starts)[..., ::-1]
    mass = _by_prob(weight, order, starts)[..., ::-1]
    precision = ratio(np.cumsum(positive, axis=-1), np.cumsum(mass, axis=-1))
    area = np.where(positive > 0, positive * precision, 0.0).sum(-1)
    total, num_positive = mass.sum(-1), positive.sum(-1)
    return ratio(area, np.where(num_positive < total, num_positive, 0.0))


def _ece(prob: FloatArray, label: FloatArray, weight: FloatArray, num_bins: int) -> FloatArray:
    """Labels (N,) beside weights (..., N), or labels (R, N) beside weights (N,)."""
    order, starts = _ties(prob)
    gap = _by_prob(weight * (prob - label), order, starts)
    mass = _by_prob(weight, order, starts)
    total = weight.sum(-1)
    # Twice the middle against twice the edge: whole numbers, so that an edge is met exactly.
    middle = num_bins * (2 * np.cumsum(mass, axis=-1) - mass)
    leading = gap.shape[:-1]
    gaps = as_draws(gap)
    middles = as_draws(np.broadcast_to(middle, gap.shape))
    edges = np.multiply.outer(np.broadcast_to(2 * total, leading).ravel(), np.arange(1, num_bins))
    found = np.empty(len(gaps))
    for draw in range(len(gaps)):
        cuts = np.searchsorted(middles[draw], edges[draw], side="left")
        found[draw] = sum(abs(part.sum()) for part in np.split(gaps[draw], cuts))
    return ratio(found.reshape(leading), total)
