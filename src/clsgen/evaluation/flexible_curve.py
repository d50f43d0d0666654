"""The flexible calibration curve: observed share against probability, as a smooth curve, and its distance from p.

A logistic regression of the labels on a natural cubic spline of logit p. Harrell (2015), Regression Modeling
Strategies, section 2.4.5 (basis and knots); Austin and Steyerberg (2019), Statistics in Medicine 38(21) (the indices);
Liang and Zeger (1986), Biometrika 73(1) (the clustered sandwich of the band). Two classes only; K columns of the basis.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, ndtri

from clsgen.errors import DataError
from clsgen.evaluation.arrays import FloatArray, IntArray, as_draws, checked
from clsgen.evaluation.logistic import clipped_logit, fit_logistic

_KNOTS = {3: (0.10, 0.50, 0.90), 4: (0.05, 0.35, 0.65, 0.95)}
_ROWS_FOR_FOUR_KNOTS = 100
"""Fewer rows of the rarer class than this, and the spline has three knots."""
_RIDGE = 1e-8
"""Least curvature of the band, where the curve separates the labels."""


class CalibrationErrors(NamedTuple):
    """Distances |p - curve(p)| over the rows.

    Attributes:
        ici: Their mean, the integrated calibration index.
        e50: Their median.
        e90: Their 90th percentile.
    """

    ici: FloatArray
    e50: FloatArray
    e90: FloatArray


class CalibrationCurve(NamedTuple):
    """The curve on a grid of probabilities, with a pointwise band.

    Attributes:
        prob: (T,) probabilities between the smallest and the largest of the rows.
        observed: (T,) share of positives that the curve says.
        low: (T,) lower end of the band, which counts rows of a group as one.
        high: (T,) upper end.
    """

    prob: FloatArray
    observed: FloatArray
    low: FloatArray
    high: FloatArray


def calibration_errors(prob: ArrayLike, label: ArrayLike, *, weight: ArrayLike | None = None) -> CalibrationErrors:
    """ICI, E50 and E90 of the flexible curve.

    0 is the best; a finite sample of perfect probabilities is above it. NaN where a class has no row, or where all
    probabilities are one and the same.

    Args:
        prob: (N,) probability of the positive class.
        label: (N,) 0 or 1.
        weight: (..., N), as in metrics.py; knots stay those of the rows, whatever the draw.

    p = 1/4 and 3/4 with labels right 3 times in 4 are as they should be:

    >>> found = calibration_errors([0.25] * 4 + [0.75] * 4, [0, 0, 0, 1, 0, 1, 1, 1])
    >>> round(float(found.ici), 6), round(float(found.e90), 6)
    (0.0, 0.0)
    """
    basis = _Basis.of(prob, label, "calibration_errors")
    data = checked("calibration_errors", prob, label, weight)
    weight_RN = as_draws(data.weight)
    if not len(data.label):
        none = np.full(data.weight.shape[:-1], np.nan)
        return CalibrationErrors(none, none, none)
    beta_RK = basis.fitted(data.label.astype(np.float64), weight_RN)
    gap_RN = np.abs(expit(beta_RK @ basis.design_NK.T) - data.prob)
    shape = data.weight.shape[:-1]
    mean = (weight_RN * gap_RN).sum(1) / np.maximum(weight_RN.sum(1), 1e-300)
    half, ninety = (np.where(np.isnan(mean), np.nan, _quantile(gap_RN, weight_RN, share)) for share in (0.5, 0.9))
    return CalibrationErrors(*(np.asarray(each.reshape(shape)) for each in (mean, half, ninety)))


def calibration_curve(
    prob: ArrayLike, label: ArrayLike, group: ArrayLike, *, num_points: int = 100, confidence: float = 0.95
) -> CalibrationCurve:
    """The curve with its band, for a figure.

    Args:
        prob: (N,) probability of the positive class.
        label: (N,) 0 or 1.
        group: (N,) name or index of each row's group.
        num_points: Points of the grid, T.
        confidence: Coverage of the band at each point.

    Raises:
        DataError: A class without rows, one probability throughout, or a value that can't be used.
    """
    basis = _Basis.of(prob, label, "calibration_curve")
    data = checked("calibration_curve", prob, label, None)
    y_N = data.label.astype(np.float64)
    beta_K = basis.fitted(y_N, np.ones((1, len(y_N))))[0]
    if np.isnan(beta_K).any():
        raise DataError("calibration_curve: rows must hold both classes and more than one probability. Give more rows.")
    p_N = expit(basis.design_NK @ beta_K)
    bread_KK = np.linalg.inv((basis.design_NK * (p_N * (1 - p_N))[:, None]).T @ basis.design_NK + _RIDGE * basis.eye)
    names, group_N = np.unique(np.asarray(group), return_inverse=True)
    score_GK = np.zeros((len(names), len(beta_K)))
    np.add.at(score_GK, group_N, basis.design_NK * (y_N - p_N)[:, None])
    factor = len(names) / max(1, len(names) - 1)
    covariance_KK = factor * bread_KK @ (score_GK.T @ score_GK) @ bread_KK
    grid_T = np.linspace(data.prob.min(), data.prob.max(), num_points)
    design_TK = basis.at(grid_T)
    middle_T = design_TK @ beta_K
    reach_T = float(ndtri((1 + confidence) / 2)) * np.sqrt(
        np.maximum(np.einsum("tk,kl,tl->t", design_TK, covariance_KK, design_TK), 0)
    )
    return CalibrationCurve(grid_T, expit(middle_T), expit(middle_T - reach_T), expit(middle_T + reach_T))


class _Basis(NamedTuple):
    """Intercept, logit p and the spline's columns, for the rows and for any probability."""

    knots: FloatArray
    design_NK: FloatArray

    @classmethod
    def of(cls, prob: ArrayLike, label: ArrayLike, where: str) -> _Basis:
        data = checked(where, prob, label, None)
        if data.prob.ndim != 1:
            raise DataError(f"{where}: prob must be of shape (N,), two classes; got one column a class.")
        num_rarer = min(int(data.label.sum()), len(data.label) - int(data.label.sum()))
        shares = _KNOTS[4 if num_rarer >= _ROWS_FOR_FOUR_KNOTS else 3]
        x_N = clipped_logit(data.prob)
        knots = np.unique(np.quantile(x_N, shares)) if len(x_N) else np.zeros(0)
        basis = cls(knots, np.zeros((0, 0)))
        return cls(knots, basis.at(data.prob))

    def fitted(self, y_N: FloatArray, weight_RN: FloatArray) -> FloatArray:
        """Coefficients (R, K); NaN where a class has no row, or where all probabilities are one and the same."""
        if not np.ptp(self.design_NK[:, 1]) > 0:
            return np.full((len(weight_RN), self.design_NK.shape[1]), np.nan)
        return fit_logistic(self.design_NK, y_N, weight_RN)

    @property
    def eye(self) -> FloatArray:
        return np.eye(self.design_NK.shape[1])

    def at(self, prob_N: FloatArray) -> FloatArray:
        """(N, K): linear in logit p beyond the outer knots; a straight line where fewer than three knots differ."""
        x_N = clipped_logit(prob_N)
        columns = [np.ones_like(x_N), x_N]
        if len(self.knots) >= 3:
            scale = (self.knots[-1] - self.knots[0]) ** 2
            columns += [self._column(x_N, j) / scale for j in range(len(self.knots) - 2)]
        return np.stack(columns, axis=1)

    def _column(self, x_N: FloatArray, j: int) -> FloatArray:
        t, last, before = self.knots[j], self.knots[-1], self.knots[-2]

        def cubed(knot: float) -> FloatArray:
            return np.maximum(x_N - knot, 0) ** 3

        left, right = (last - t) / (last - before), (before - t) / (last - before)
        return np.asarray(cubed(t) - cubed(before) * left + cubed(last) * right)


def _quantile(value_RN: FloatArray, weight_RN: FloatArray, share: float) -> FloatArray:
    """Least value at or below which so large a share of the weight lies, a row at a time."""
    order_RN: IntArray = np.argsort(value_RN, axis=1)
    sorted_RN = np.take_along_axis(value_RN, order_RN, axis=1)
    mass_RN = np.cumsum(np.take_along_axis(weight_RN, order_RN, axis=1), axis=1)
    # Whole-number weights add up exactly; the small slack is for shares such as 0.9 of them.
    first_R = (mass_RN >= share * mass_RN[:, -1:] - 1e-9).argmax(1)
    return np.asarray(np.take_along_axis(sorted_RN, first_R[:, None], axis=1)[:, 0])
