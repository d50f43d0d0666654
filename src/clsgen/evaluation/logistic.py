"""Logistic regression by Newton's method, for many draws of weights at once. N rows, R draws, K columns."""

from __future__ import annotations

import numpy as np
from scipy.special import logit

from clsgen.evaluation.arrays import FloatArray

LOGIT_CLIP = 1e-9
"""Probabilities are clipped to [1e-9, 1 - 1e-9] before their logit is taken: a p of 0 has none."""

_MAX_TRIALS = 400
_TOLERANCE = 1e-10
"""The step is the last one that makes the labels likelier by no more than this, in nats: its error is squared."""
_LEAST_SHARE = 1e-4
"""Share of what its slope promises that a step must bring; else it is too long, and a quarter of it is tried."""

_ROWS_AT_ONCE = 2**17
_RIDGE = 1e-10
"""Share by which each column's own curvature is raised, so that columns which are nearly one can be told apart."""
_LEAST_CURVE = 1e-30
"""Curvature where there is none, so that labels which the columns separate do not stop the others' draws."""


def clipped_logit(prob: FloatArray) -> FloatArray:
    """Logits of probabilities, those of 0 and 1 finite."""
    return np.asarray(logit(np.clip(prob, LOGIT_CLIP, 1 - LOGIT_CLIP)))


def has_both(weight_RN: FloatArray, y_N: FloatArray) -> np.ndarray:
    """Which draws hold rows of either class."""
    return np.asarray((weight_RN @ y_N > 0) & (weight_RN @ (1 - y_N) > 0))


def fit_logistic(design_NK: FloatArray, y_N: FloatArray, weight_RN: FloatArray) -> FloatArray:
    """Coefficients (R, K) of largest likelihood; NaN for a draw with one class, or that was not found in time.

    Where the columns separate the classes there is no largest likelihood: the coefficients are large, and the
    probabilities that they give as good as 0 and 1.

    Args:
        design_NK: Columns; the second one is the logit that a row begins with.
        y_N: 0 or 1.
        weight_RN: How often each row counts in each draw.
    """
    num_columns = design_NK.shape[1]
    beta_RK = np.zeros((len(weight_RN), num_columns))
    beta_RK[:, 1] = 1.0
    is_defined = has_both(weight_RN, y_N)
    value_R, size_R = np.full(len(beta_RK), -np.inf), np.zeros(len(beta_RK))
    step_RK, gain_R = np.zeros_like(beta_RK), np.zeros(len(beta_RK))
    is_open = is_defined.copy()
    for _ in range(_MAX_TRIALS):
        rows = np.flatnonzero(is_open)
        if not len(rows):
            break
        tried_RK = beta_RK[rows] + size_R[rows, None] * step_RK[rows]
        value, gradient_RK, hessian_RKK = _at(design_NK, y_N, weight_RN[rows], tried_RK)
        promised = _LEAST_SHARE * size_R[rows] * gain_R[rows]
        is_taken = ~(value < value_R[rows] + promised - 1e-12 * np.abs(value))
        size_R[rows[~is_taken]] /= 4
        taken = rows[is_taken]
        beta_RK[taken], value_R[taken], size_R[taken] = tried_RK[is_taken], value[is_taken], 1.0
        curve_RKK = hessian_RKK[is_taken]
        curve_RKK = curve_RKK + (_RIDGE * curve_RKK + _LEAST_CURVE) * np.eye(num_columns)
        step_RK[taken] = np.linalg.solve(curve_RKK, gradient_RK[is_taken, :, None])[..., 0]
        gain_R[taken] = (step_RK[taken] * gradient_RK[is_taken]).sum(1)
        is_last = gain_R[taken] <= _TOLERANCE
        beta_RK[taken[is_last]] += step_RK[taken[is_last]]
        is_open[taken[is_last]] = False
    return np.asarray(np.where((is_defined & ~is_open)[:, None], beta_RK, np.nan))


def _at(
    design_NK: FloatArray, y_N: FloatArray, weight_RN: FloatArray, beta_RK: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Log-likelihood (R,), its gradient (R, K) and negated Hessian (R, K, K), some rows at a time."""
    num_draws, num_columns = beta_RK.shape
    value_R = np.zeros(num_draws)
    gradient_RK = np.zeros((num_draws, num_columns))
    hessian_RQ = np.zeros((num_draws, num_columns**2))
    for start in range(0, len(y_N), _ROWS_AT_ONCE):
        at = slice(start, start + _ROWS_AT_ONCE)
        part_nK, weight_Rn = design_NK[at], weight_RN[:, at]
        logit_Rn = beta_RK @ part_nK.T
        odds_Rn = np.exp(-np.abs(logit_Rn))
        lost_Rn = np.log1p(odds_Rn) + np.maximum(logit_Rn, 0)
        value_R += np.einsum("rn,rn->r", weight_Rn, y_N[at] * logit_Rn - lost_Rn)
        p_Rn = np.where(logit_Rn > 0, 1, odds_Rn) / (1 + odds_Rn)
        gradient_RK += (weight_Rn * (y_N[at] - p_Rn)) @ part_nK
        products_nQ = (part_nK[:, :, None] * part_nK[:, None, :]).reshape(len(part_nK), -1)
        hessian_RQ += (weight_Rn * p_Rn * (1 - p_Rn)) @ products_nQ
    return value_R, gradient_RK, hessian_RQ.reshape(num_draws, num_columns, num_columns)
