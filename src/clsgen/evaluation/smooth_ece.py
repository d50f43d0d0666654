"""Smooth ECE: calibration error without bins, its one scale chosen by the data.

Błasiok and Nakkiran (2024), Smooth ECE: principled reliability diagrams via kernel smoothing, ICLR (arXiv 2309.12236).
`weight` and the returned shape are as in metrics.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.fft import dct, idct

from clsgen.evaluation.arrays import Checked, FloatArray, as_draws, checked, ratio

_NUM_CELLS = 1024
_NUM_HALVINGS = 40
_MAX_ELEMENTS = 2**22


def smooth_ece(prob: ArrayLike, label: ArrayLike, *, weight: ArrayLike | None = None) -> FloatArray:
    """The scale s at which the residuals y - p, smoothed by a reflected Gaussian of that scale, add up to s.

    s = integral over t of |mean of K_s(t, p) (y - p)|. Like the ECE without its bins: the error that is seen at a scale
    as fine as the error itself. Direction: lower is better; 0 is out of reach of a finite sample. Probabilities are
    laid on 1,024 cells. (N, C): mean of the one-vs-rest errors. Defined with one class; empty input: NaN.

    Every p is 0.5 and half of the labels are 1: nothing is left at any scale. All 1: the error is 0.5 at every scale.

    >>> float(smooth_ece([0.5, 0.5], [0, 1])), round(float(smooth_ece([0.5, 0.5], [1, 1])), 3)
    (0.0, 0.5)
    """
    data = checked("smooth_ece", prob, label, weight)
    if data.prob.ndim == 1:
        return _smooth_ece(data.prob, data.label.astype(np.float64), data.weight)
    classes = range(data.prob.shape[1])
    each = [_smooth_ece(data.prob[:, c], (data.label == c).astype(np.float64), data.weight) for c in classes]
    return np.asarray(np.mean(each, axis=0))


def smoothed_error(prob: ArrayLike, label: ArrayLike, *, scale: float, weight: ArrayLike | None = None) -> FloatArray:
    """The error at a given scale, two classes; `smooth_ece` is where it equals the scale.

    Args:
        prob: (N,).
        label: (N,) 0 or 1.
        scale: Standard deviation of the Gaussian, above 0.
        weight: (..., N).
    """
    data = checked("smoothed_error", prob, label, weight)
    residual_RM = _residuals(data)
    found = _error_at(dct(residual_RM, axis=-1), np.full(len(residual_RM), scale))
    return ratio(found, as_draws(data.weight).sum(1)).reshape(data.weight.shape[:-1])


def _smooth_ece(prob_N: FloatArray, label_N: FloatArray, weight: FloatArray) -> FloatArray:
    rows_RN = as_draws(weight)
    chunk = max(1, _MAX_ELEMENTS // max(_NUM_CELLS, len(label_N)))
    parts = [
        _scales(prob_N, label_N, rows_RN[start : start + chunk]) for start in range(0, max(1, len(rows_RN)), chunk)
    ]
    return np.concatenate(parts).reshape(weight.shape[:-1])


def _scales(prob_N: FloatArray, label_N: FloatArray, weight_RN: FloatArray) -> FloatArray:
    """The fixed point of each draw by halving: the error never grows with the scale."""
    total = weight_RN.sum(1)
    spectrum = dct(_residuals(Checked(prob_N, label_N.astype(np.int64), weight_RN)), axis=-1)
    low, high = np.zeros(len(weight_RN)), np.ones(len(weight_RN))
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        is_above = ratio(_error_at(spectrum, middle), total) > middle
        low, high = np.where(is_above, middle, low), np.where(is_above, high, middle)
    found = np.where(high < 1e-9, 0.0, high)
    return np.where(total > 0, found, np.nan)


def _residuals(data: Checked) -> FloatArray:
    """(R, M): weighted residuals laid on cells of [0, 1], each shared by the two cells whose middles are nearest."""
    place = np.clip(data.prob * _NUM_CELLS - 0.5, 0, _NUM_CELLS - 1)
    cell = np.minimum(place.astype(np.int64), _NUM_CELLS - 2)
    upper_share = place - cell
    residual_RN = as_draws(data.weight) * (data.label - data.prob)
    found = np.zeros((len(residual_RN), _NUM_CELLS))
    for offset, share in ((0, 1 - upper_share), (1, upper_share)):
        flat = (cell + offset) + _NUM_CELLS * np.arange(len(residual_RN))[:, None]
        values = residual_RN * share
        found += np.bincount(flat.ravel(), weights=values.ravel(), minlength=found.size).reshape(found.shape)
    return found


def _error_at(spectrum_RM: FloatArray, scale_R: FloatArray) -> FloatArray:
    """Sum of |smoothed residuals|; in the cosine transform a reflected Gaussian is a product."""
    damping = np.exp(-0.5 * (np.pi * np.arange(_NUM_CELLS) * scale_R[:, None]) ** 2)
    return np.asarray(np.abs(idct(spectrum_RM * damping, axis=-1)).sum(1))
