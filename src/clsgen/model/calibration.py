"""Fits a calibrator on calibration rows: rows of natural prevalence that went through the serving path.

Nothing here looks at rows of any other role. Shapes: N rows, C classes, P free parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.isotonic import IsotonicRegression

from clsgen.errors import CalibrationError
from clsgen.model.calibrator import Calibrator, Floats, Knots, Method, checked_logits, class_margins

__all__ = ["Calibrator", "fit_calibrator"]

NUM_RAREST_FOR_PLATT, NUM_RAREST_FOR_VECTOR = 20, 50
"""Under this many rows of the rarer of two classes, or of the rarest of more, `auto` fits the temperature alone."""

NUM_ROWS_FOR_ISOTONIC = 1000
NUM_RAREST_FOR_ISOTONIC = 100

_MIN_SLOPE = 1e-3
"""Least slope, for logits scaled to unit spread. Slopes stay positive so that calibration never turns the head's
ranking round: rows that a head ranks backwards are calibrated to their prevalence, not to its mirror image."""

_MAX_GRADIENT = 1e-5
"""Largest gradient (nats a row, logits of unit spread) at which a fit counts as converged."""


def fit_calibrator(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    method: Literal["auto", "vector", "temperature", "isotonic", "none"] = "auto",
) -> Calibrator:
    """Calibrator of a model, from its logits on calibration rows.

    `vector` fits a slope and a bias a class (Guo et al. 2017); for two classes this is Platt scaling,
    p = sigmoid(A (z1 - z0) + B), written as a = (A, A), b = (0, B). `temperature` fits one slope for all. Both minimise
    the cross-entropy against Platt's smoothed targets (Platt 1999, here for C classes): a row of class c has
    (n_c + 1) / (n_c + C) on c and 1 / (n_c + C) on each other class, so rows that a line separates give finite slopes.
    `isotonic` fits a monotone curve a class against the rest. `auto` is vector, or temperature where the rarest
    class has under 20 rows (two classes) or 50 (more).

    Args:
        logits: Class logits z (N, C) on the natural prior, from the serving path.
        labels: Class indices (N,), each class at least once.
        method: See above; `none` fits nothing and only counts the rows.

    Returns:
        The calibrator, its `method` resolved.

    Raises:
        CalibrationError: Logits or labels of another shape or range, a class without rows, too few rows for isotonic,
            a fit that does not converge.
    """
    logits_NC = checked_logits("calibrate", logits)
    labels_N, counts = _checked_labels(labels, *logits_NC.shape)
    check_counts(counts, method=method)
    enough = NUM_RAREST_FOR_PLATT if len(counts) == 2 else NUM_RAREST_FOR_VECTOR
    by_count: Method = "vector" if min(counts) >= enough else "temperature"
    resolved = by_count if method == "auto" else method
    slopes, biases, knots = (1.0,) * len(counts), (0.0,) * len(counts), None
    if resolved == "isotonic":
        knots = _fit_knots(logits_NC, labels_N, counts)
    elif resolved != "none":
        slopes, biases = _fit_affine(logits_NC, labels_N, counts, is_temperature=resolved == "temperature")
    return Calibrator(resolved, counts, slopes, biases, knots)


def check_counts(counts: Sequence[int], *, method: str) -> None:
    """Whether rows of these class counts can carry the method; asked before a model is trained for them.

    Raises:
        CalibrationError: A class without rows, or too few rows for isotonic.
    """
    if min(counts) == 0:
        raise CalibrationError(
            f"calibrate: calibration rows must hold every class; got class counts {tuple(counts)!r}. "
            "Enlarge data.split.calibration, or drop the label without rows."
        )
    if method == "isotonic" and (sum(counts) < NUM_ROWS_FOR_ISOTONIC or min(counts) < NUM_RAREST_FOR_ISOTONIC):
        raise CalibrationError(
            f"calibrate: method isotonic must be fitted on {NUM_ROWS_FOR_ISOTONIC} rows or more, "
            f"{NUM_RAREST_FOR_ISOTONIC} of the rarest class; got class counts {tuple(counts)!r}. "
            "Choose calibrate.method: auto."
        )


def _fit_affine(
    logits_NC: Floats, labels_N: NDArray[np.int64], counts: tuple[int, ...], *, is_temperature: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Slopes and biases of least smoothed cross-entropy: a convex problem, solved by L-BFGS-B on scaled logits."""
    is_shared = is_temperature or len(counts) == 2
    slope_CP = np.ones((len(counts), 1)) if is_shared else np.eye(len(counts))
    bias_CP = np.zeros((len(counts), 0)) if is_temperature else np.eye(len(counts))[:, 1:]
    num_slopes, num_biases = slope_CP.shape[1], bias_CP.shape[1]
    # What the softmax does not see is taken out, so that the problem is well conditioned whatever the logits' scale.
    if is_shared:
        logits_NC = logits_NC - logits_NC.mean(axis=1, keepdims=True)
    offset_C = np.zeros(len(counts)) if is_temperature else logits_NC.mean(axis=0)
    spread = float(np.sqrt(np.mean((logits_NC - offset_C) ** 2)))
    scale = spread if spread > 1e-9 * max(1.0, float(np.abs(logits_NC).max())) else 1.0
    unit_NC = (logits_NC - offset_C) / scale
    targets_NC = _smoothed_targets(labels_N, counts) / len(labels_N)

    def loss_and_gradient(params_P: Floats) -> tuple[float, Floats]:
        slope_C, bias_C = slope_CP @ params_P[:num_slopes], bias_CP @ params_P[num_slopes:]
        logprobs_NC = log_softmax(unit_NC * slope_C + bias_C, axis=1)
        residual_NC = np.exp(logprobs_NC) / len(labels_N) - targets_NC
        gradient_P = np.concatenate([(residual_NC * unit_NC).sum(0) @ slope_CP, residual_NC.sum(0) @ bias_CP])
        return -float((targets_NC * logprobs_NC).sum()), gradient_P

    found = minimize(
        loss_and_gradient,
        np.concatenate([np.ones(num_slopes), np.zeros(num_biases)]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(_MIN_SLOPE, None)] * num_slopes + [(None, None)] * num_biases,
        options={"maxiter": 5000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-10},
    )
    params_P = np.asarray(found.x, dtype=np.float64)
    _check_convergence(params_P, loss_and_gradient(params_P)[1], num_slopes)
    slope_C = slope_CP @ params_P[:num_slopes] / scale
    bias_C = bias_CP @ params_P[num_slopes:] - slope_C * offset_C
    return tuple(slope_C.tolist()), tuple((bias_C - bias_C[0]).tolist())


def _smoothed_targets(labels_N: NDArray[np.int64], counts: tuple[int, ...]) -> Floats:
    """Platt's targets (N, C): each class is given one more row of every class."""
    counts_C = np.array(counts, dtype=np.float64)
    targets_CC = (np.eye(len(counts)) * counts_C + 1) / (counts_C + len(counts))[:, None]
    targets_NC: Floats = targets_CC[labels_N]
    return targets_NC


def _check_convergence(params_P: Floats, gradient_P: Floats, num_slopes: int) -> None:
    """Refuses parameters at which the loss still falls; a slope at its bound may only push outwards."""
    is_held = (params_P <= _MIN_SLOPE) & (np.arange(len(params_P)) < num_slopes) & (gradient_P > 0)
    steepest = float(np.abs(np.where(is_held, 0.0, gradient_P)).max())
    if not steepest <= _MAX_GRADIENT:
        raise CalibrationError(
            f"calibrate: the fit must be converged (gradient at most {_MAX_GRADIENT:g}); got {steepest:.2g}. "
            "Look at the logits of the calibration rows, or choose calibrate.method: temperature."
        )


def _fit_knots(logits_NC: Floats, labels_N: NDArray[np.int64], counts: tuple[int, ...]) -> tuple[Knots, ...]:
    """A monotone curve a class, one against the rest (Zadrozny & Elkan 2002)."""
    curves = []
    for index, margins_N in enumerate(class_margins(logits_NC).T):
        regression = IsotonicRegression(y_min=0, y_max=1).fit(margins_N, labels_N == index)
        curves.append(Knots(tuple(regression.X_thresholds_.tolist()), tuple(regression.y_thresholds_.tolist())))
    return tuple(curves)


def _checked_labels(labels: ArrayLike, num_rows: int, num_classes: int) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Labels as (N,) int64, and the rows a class."""
    labels_N = np.asarray(labels)
    if labels_N.shape != (num_rows,):
        raise CalibrationError(
            f"calibrate: labels must be of shape ({num_rows},), one a row of the logits; got {labels_N.shape!r}. "
            "Give both from the same rows."
        )
    if num_rows > 0 and (labels_N.dtype.kind not in "iu" or labels_N.min() < 0 or labels_N.max() >= num_classes):
        raise CalibrationError(
            f"calibrate: labels must be integers from 0 to {num_classes - 1}; got {np.unique(labels_N).tolist()!r}. "
            "Leave unlabelled rows out."
        )
    labels_N = labels_N.astype(np.int64)
    counts = tuple(np.bincount(labels_N, minlength=num_classes).tolist())
    return labels_N, counts
