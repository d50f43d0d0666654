"""Calibration as a logistic regression of the labels on the logit of the probability: slope, intercept, in the large.

Cox (1958), Biometrika 45(3/4); Van Calster et al. (2019), BMC Medicine 17:230 (the hierarchy of calibration). `weight`
and the returned shapes are as in metrics.py; two classes only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from clsgen.errors import DataError
from clsgen.evaluation.arrays import Checked, FloatArray, as_draws, checked

LOGIT_CLIP = 1e-9
"""Probabilities are clipped to [1e-9, 1 - 1e-9] before their logit is taken: a p of 0 has none."""

_MAX_STEPS = 60
_TOLERANCE = 1e-10
_MAX_SLOPE = 1e4


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
    x_N, y_N = _logit(data.prob), data.label.astype(np.float64)
    weight_RN = as_draws(data.weight)
    intercept, slope = np.zeros(len(weight_RN)), np.ones(len(weight_RN))
    is_open = _has_both(weight_RN, y_N) & _varies(weight_RN, x_N)
    is_done = ~is_open
    for _ in range(_MAX_STEPS):
        rows = np.flatnonzero(~is_done)
        if not len(rows):
            break
        part = weight_RN[rows]
        p_RN = expit(intercept[rows, None] + slope[rows, None] * x_N)
        residual = part * (y_N - p_RN)
        curve = part * p_RN * (1 - p_RN)
        gradient = residual.sum(1), residual @ x_N
        c, d, e = curve.sum(1), curve @ x_N, curve @ x_N**2
        determinant = np.maximum(c * e - d * d, 1e-300)
        step_a = (e * gradient[0] - d * gradient[1]) / determinant
        step_b = (c * gradient[1] - d * gradient[0]) / determinant
        size = np.minimum(1.0, 5.0 / np.maximum(1e-300, np.maximum(np.abs(step_a), np.abs(step_b))))
        intercept[rows] += size * step_a
        slope[rows] += size * step_b
        is_done[rows] = np.maximum(np.abs(step_a), np.abs(step_b)) < _TOLERANCE
        is_open[rows] &= np.abs(slope[rows]) < _MAX_SLOPE
    is_found = is_open & is_done
    shape = data.weight.shape[:-1]
    return CalibrationLine(
        np.where(is_found, intercept, np.nan).reshape(shape), np.where(is_found, slope, np.nan).reshape(shape)
    )


def calibration_in_the_large(prob: ArrayLike, label: ArrayLike, *, weight: ArrayLike | None = None) -> FloatArray:
    """What must be added to the logit of each probability for their mean to be the share of positives.

    0 is the best; above it the probabilities are too low as a whole. NaN where a class has no row.

    p = 1/2 and 3 of 4 positive: ln 3.

    >>> round(float(calibration_in_the_large([0.5] * 4, [1, 1, 1, 0])), 4)
    1.0986
    """
    data = _checked("calibration_in_the_large", prob, label, weight)
    x_N, y_N = _logit(data.prob), data.label.astype(np.float64)
    weight_RN = as_draws(data.weight)
    shift = np.zeros(len(weight_RN))
    for _ in range(_MAX_STEPS):
        p_RN = expit(shift[:, None] + x_N)
        residual = (weight_RN * (y_N - p_RN)).sum(1)
        curve = (weight_RN * p_RN * (1 - p_RN)).sum(1)
        step = np.clip(residual / np.maximum(curve, 1e-300), -5.0, 5.0)
        shift += step
        if (np.abs(step) < _TOLERANCE).all():
            break
    is_defined = _has_both(weight_RN, y_N)
    return np.asarray(np.where(is_defined, shift, np.nan).reshape(data.weight.shape[:-1]))


def _checked(where: str, prob: ArrayLike, label: ArrayLike, weight: ArrayLike | None) -> Checked:
    data = checked(where, prob, label, weight)
    if data.prob.ndim != 1:
        raise DataError(f"{where}: prob must be of shape (N,), two classes; got one column a class.")
    return data


def _logit(prob_N: FloatArray) -> FloatArray:
    return np.asarray(logit(np.clip(prob_N, LOGIT_CLIP, 1 - LOGIT_CLIP)))


def _has_both(weight_RN: FloatArray, y_N: FloatArray) -> np.ndarray:
    return np.asarray((weight_RN @ y_N > 0) & (weight_RN @ (1 - y_N) > 0))


def _varies(weight_RN: FloatArray, x_N: FloatArray) -> np.ndarray:
    is_in = weight_RN > 0
    low = np.where(is_in, x_N, np.inf).min(1, initial=np.inf)
    high = np.where(is_in, x_N, -np.inf).max(1, initial=-np.inf)
    return np.asarray(high > low)
