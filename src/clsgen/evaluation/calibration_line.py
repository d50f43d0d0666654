"""Calibration as a logistic regression of the labels on the logit of the probability: slope, intercept, in the large.

Cox (1958), Biometrika 45(3/4); Van Calster et al. (2019), BMC Medicine 17:230 (the hierarchy of calibration). `weight`
and the returned shapes are as in metrics.py; two classes only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from clsgen.errors import DataError
from clsgen.evaluation.arrays import Checked, FloatArray, as_draws, checked
from clsgen.evaluation.logistic import clipped_logit, fit_logistic, has_both

_MAX_STEPS = 200
_MAX_STEP = 1.0
"""Newton's steps for the offset can't overshoot below 1.79: the third derivative of the logistic loss is at most its
second (Bach 2010, Electronic Journal of Statistics 4)."""
_TOLERANCE = 1e-10


class CalibrationLine(NamedTuple):
    """logit P(y = 1) = intercept + slope * logit p.

    Attributes:
        intercept: 0 is the best; above it probabilities are too low where p is one half.
        slope: 1 is the best; below it probabilities are too extreme, above it too timid.
    """

    intercept: FloatArray
    slope: FloatArray


def calibration_line(prob: ArrayLike, label: ArrayLike, *, weight: ArrayLike | None = None) -> CalibrationLine:
    """Intercept and slope by maximum likelihood.

    Ties mean nothing to it. NaN where a class has no row, where all probabilities are one and the same, or where the
    classes are separated by the probability, so that no finite slope is likeliest.

    p = 1/4 and 3/4 with labels right 3 times in 4 are as they should be:

    >>> line = calibration_line([0.25] * 4 + [0.75] * 4, [0, 0, 0, 1, 0, 1, 1, 1])
    >>> abs(round(float(line.intercept), 6)), round(float(line.slope), 6)
    (0.0, 1.0)
    """
    data = _checked("calibration_line", prob, label, weight)
    x_N, y_N = clipped_logit(data.prob), data.label.astype(np.float64)
    weight_RN = as_draws(data.weight)
    is_found = has_both(weight_RN, y_N) & _overlap(weight_RN, x_N, y_N)
    beta_RK = np.full((len(weight_RN), 2), np.nan)
    beta_RK[is_found] = fit_logistic(np.stack([np.ones_like(x_N), x_N], axis=1), y_N, weight_RN[is_found])
    shape = data.weight.shape[:-1]
    return CalibrationLine(beta_RK[:, 0].reshape(shape), beta_RK[:, 1].reshape(shape))


def calibration_in_the_large(prob: ArrayLike, label: ArrayLike, *, weight: ArrayLike | None = None) -> FloatArray:
    """What must be added to the logit of each probability for their mean to be the share of positives.

    0 is the best; above it the probabilities are too low as a whole. NaN where a class has no row.

    p = 1/2 and 3 of 4 positive: ln 3.

    >>> round(float(calibration_in_the_large([0.5] * 4, [1, 1, 1, 0])), 4)
    1.0986
    """
    data = _checked("calibration_in_the_large", prob, label, weight)
    x_N, y_N = clipped_logit(data.prob), data.label.astype(np.float64)
    weight_RN = as_draws(data.weight)
    is_defined = has_both(weight_RN, y_N)
    shift = np.zeros(len(weight_RN))
    for _ in range(_MAX_STEPS):
        p_RN = expit(shift[:, None] + x_N)
        residual = (weight_RN * (y_N - p_RN)).sum(1)
        curve = (weight_RN * p_RN * (1 - p_RN)).sum(1)
        step = np.clip(residual / np.maximum(curve, 1e-300), -_MAX_STEP, _MAX_STEP)
        shift += step
        if (np.abs(step[is_defined]) < _TOLERANCE).all():
            break
    return np.asarray(np.where(is_defined, shift, np.nan).reshape(data.weight.shape[:-1]))


def _checked(where: str, prob: ArrayLike, label: ArrayLike, weight: ArrayLike | None) -> Checked:
    data = checked(where, prob, label, weight)
    if data.prob.ndim != 1:
        raise DataError(f"{where}: prob must be of shape (N,), two classes; got one column a class.")
    return data


def _overlap(weight_RN: FloatArray, x_N: FloatArray, y_N: FloatArray) -> np.ndarray:
    """Whether each class has a row beyond one of the other, on either side: else no finite slope is likeliest."""
    is_in = weight_RN > 0
    low, high = [], []
    for label in (0.0, 1.0):
        of_label = is_in & (y_N == label)
        low.append(np.where(of_label, x_N, np.inf).min(1, initial=np.inf))
        high.append(np.where(of_label, x_N, -np.inf).max(1, initial=-np.inf))
    return np.asarray((low[0] < high[1]) & (low[1] < high[0]))
