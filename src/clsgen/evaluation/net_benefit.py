"""Decision curves: what deciding by a probability is worth, against deciding nobody or everybody positive.

Vickers and Elkin (2006), Medical Decision Making 26(6). `weight` and the leading shapes are as in metrics.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from clsgen.errors import DataError
from clsgen.evaluation.arrays import FloatArray, checked, ratio


class DecisionCurve(NamedTuple):
    """Net benefit at each threshold; deciding nobody positive has 0 everywhere.

    Attributes:
        thresholds: (T,) as given.
        model: (..., T) of deciding positive where p >= threshold.
        treat_all: (..., T) of deciding everybody positive.
    """

    thresholds: FloatArray
    model: FloatArray
    treat_all: FloatArray


def decision_curve(
    prob: ArrayLike, label: ArrayLike, thresholds: ArrayLike, *, weight: ArrayLike | None = None
) -> DecisionCurve:
    """Net benefit TP/n - FP/n * t / (1 - t) at each threshold t: true positives, less false ones at the odds of t.

    A threshold is also a price: whoever acts from t on finds t / (1 - t) false alarms as bad as one case missed.
    Direction: higher is better; compare with `treat_all` and 0. Ties are decided together. Empty input: NaN.

    Args:
        prob: (N,) probability of the positive class.
        label: (N,) 0 or 1.
        thresholds: (T,) above 0 and below 1.
        weight: (..., N).

    Raises:
        DataError: A threshold outside (0, 1), or a value that can't be used.

    At t = 1/4 three rows are decided positive, two of them rightly: 2/4 - 1/4 * 1/3.

    >>> curve = decision_curve([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], [0.25])
    >>> round(float(curve.model[0]), 4), round(float(curve.treat_all[0]), 4)
    (0.4167, 0.3333)
    """
    data = checked("decision_curve", prob, label, weight)
    if data.prob.ndim != 1:
        raise DataError("decision_curve: prob must be of shape (N,), two classes; got one column a class.")
    cuts_T = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    if not ((cuts_T > 0) & (cuts_T < 1)).all():
        raise DataError(
            f"decision_curve: thresholds must be above 0 and below 1; got {float(cuts_T.min())!r} among them."
        )
    order = np.argsort(data.prob, kind="stable")
    first_T = np.searchsorted(data.prob[order], cuts_T, side="left")  # from here on p >= t
    weight_N = data.weight[..., order]
    positive = weight_N * data.label[order]
    true = _from(positive, first_T)
    false = _from(weight_N - positive, first_T)
    total = data.weight.sum(-1)[..., None]
    odds_T = cuts_T / (1 - cuts_T)
    share = ratio(positive.sum(-1), data.weight.sum(-1))[..., None]
    return DecisionCurve(cuts_T, ratio(true - false * odds_T, total), np.asarray(share - (1 - share) * odds_T))


def _from(value: FloatArray, first_T: np.ndarray) -> FloatArray:
    """Sums of value (..., N) from each index on, (..., T)."""
    tail = np.zeros((*value.shape[:-1], value.shape[-1] + 1))
    tail[..., :-1] = np.cumsum(value[..., ::-1], axis=-1)[..., ::-1]
    return np.asarray(tail[..., first_T])
