"""Checked arrays: what every metric takes, and the one error it raises for what it can't take.

Shape legend of the folder: N rows, C classes, R bootstrap draws, D distinct probabilities, G groups.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clsgen.errors import DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Checked(NamedTuple):
    """Probabilities (N,) or (N, C), labels (N,) and weights (..., N), fit to be computed with."""

    prob: FloatArray
    label: IntArray
    weight: FloatArray


def checked(where: str, prob: ArrayLike, label: ArrayLike, weight: ArrayLike | None) -> Checked:
    """Gives arrays that agree in length and hold nothing that a metric can't use.

    Args:
        where: Name of the metric, for the message.
        prob: (N,) of the positive class, or (N, C); finite, in [0, 1].
        label: (N,) class indices: 0 or 1 beside (N,), 0 to C - 1 beside (N, C).
        weight: (..., N) row weights, finite and at least 0; None means 1 each.

    Raises:
        DataError: A shape differs, a value is NaN or out of range.
    """
    prob_array = np.asarray(prob, dtype=np.float64)
    if prob_array.ndim not in (1, 2):
        raise DataError(f"{where}: prob must be of shape (N,) or (N, C); got {prob_array.shape}.")
    bad = np.argwhere(~((prob_array >= 0) & (prob_array <= 1)))
    if len(bad):
        value = float(prob_array[tuple(bad[0])])
        raise DataError(f"{where}: prob must be from 0 to 1; got {value!r} at row {bad[0][0]}. Repair the row.")
    num_classes = prob_array.shape[1] if prob_array.ndim == 2 else 2
    label_array = checked_label(where, label, num_classes=num_classes)
    if len(label_array) != len(prob_array):
        raise DataError(f"{where}: label must be as long as prob ({len(prob_array)}); got {len(label_array)}.")
    return Checked(prob_array, label_array, checked_weight(where, weight, num_rows=len(label_array)))


def checked_label(where: str, label: ArrayLike, *, num_classes: int) -> IntArray:
    """Gives class indices (N,) as integers.

    Raises:
        DataError: Not one axis, or a value other than 0 to num_classes - 1.
    """
    given = np.asarray(label)
    if given.ndim != 1:
        raise DataError(f"{where}: label must be of shape (N,); got {given.shape}.")
    wrong = np.flatnonzero(~np.isin(given, np.arange(num_classes)))
    if len(wrong):
        raise DataError(
            f"{where}: label must be a class index from 0 to {num_classes - 1}; "
            f"got {given[wrong[0]].item()!r} at row {wrong[0]}. Pass indices, labelled rows only."
        )
    return given.astype(np.int64)


def checked_weight(where: str, weight: ArrayLike | None, *, num_rows: int) -> FloatArray:
    """Gives row weights (..., N); ones where None.

    Raises:
        DataError: The last axis is not num_rows long, or a weight is negative or not finite.
    """
    if weight is None:
        return np.ones(num_rows)
    array = np.asarray(weight, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] != num_rows:
        raise DataError(f"{where}: weight must be of shape (..., {num_rows}); got {array.shape}.")
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise DataError(f"{where}: weight must be finite and at least 0; got {float(array.min())!r} at least.")
    return array


def as_draws(weight: FloatArray) -> FloatArray:
    """Row weights (..., N) as (R, N), one row a draw; R is 1 without leading axes.

    >>> as_draws(np.ones(3)).shape, as_draws(np.ones((4, 0))).shape
    ((1, 3), (4, 0))
    """
    return weight.reshape(math.prod(weight.shape[:-1]), weight.shape[-1])


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> FloatArray:
    """Divides once, at the end; NaN where the denominator is 0.

    >>> ratio([1.0, 0.0], [4.0, 0.0]).tolist()
    [0.25, nan]
    """
    top, bottom = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    result = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=result, where=bottom != 0)
    return result


def weighted_mean(value: FloatArray, weight: FloatArray) -> FloatArray:
    """Mean of value (N,) under weight (..., N); NaN where the weights add up to 0.

    >>> weighted_mean(np.array([1.0, 3.0]), np.array([[1.0, 1.0], [3.0, 1.0]])).tolist()
    [2.0, 1.5]
    """
    return ratio(weight @ value, weight.sum(-1))
