"""Counts labels among rows of like probability, with an interval that knows that rows of a group are alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from clsgen.evaluation.arrays import FloatArray, IntArray, checked
from clsgen.model.similar import STEPS, Similar, SimilarRows

HALF_WIDTH = 0.05
_Z = 1.959963984540054
_ROUNDING = 1e-9


def similar_rows(probs: ArrayLike, label: ArrayLike, group: ArrayLike, labels: Sequence[str]) -> SimilarRows:
    """What became of rows with a like probability, around every hundredth.

    Args:
        probs: Calibrated probabilities (N, C).
        label: Class indices (N,).
        group: Name or index of each row's group, (N,).
        labels: Names of the classes, C of them.

    Raises:
        DataError: Shapes that don't agree, a probability outside [0, 1].
    """
    found = checked("similar_rows", probs, label, None)
    _, group_N = np.unique(np.asarray(group), return_inverse=True)
    centres = np.arange(STEPS + 1) / STEPS
    windows = {
        name: tuple(
            share_of((found.label == column)[is_near].astype(int), group_N[is_near])
            for is_near in (np.abs(found.prob[:, column] - centre) <= HALF_WIDTH + _ROUNDING for centre in centres)
        )
        for column, name in enumerate(labels)
    }
    return SimilarRows(HALF_WIDTH, windows)


def share_of(is_label: IntArray, group: IntArray) -> Similar:
    """A share with Wilson's interval, whose number of rows is divided by the design effect of the groups.

    The design effect is the variance of the share between groups over that of independent rows, at least 1; where the
    share is 0 or 1 nothing varies, and the number of groups takes the place of the number of rows. Wilson (1927), JASA
    22; Korn and Graubard (1998), Survey Methodology 24, on the effective number of rows.

    Args:
        is_label: 0 or 1 of each row, (n,).
        group: Index of each row's group, (n,).

    >>> share_of(np.array([1, 1, 1, 0]), np.arange(4))
    Similar(num_rows=4, num_with_label=3, low=0.300..., high=0.954...)
    """
    num_rows, num_label = len(is_label), int(is_label.sum())
    if not num_rows:
        return Similar(0, 0, None, None)
    share = num_label / num_rows
    residual = np.asarray(is_label - share, dtype=np.float64)
    low, high = _wilson(share, _effective_rows(residual, group, share))
    return Similar(num_rows, num_label, low, high)


def _effective_rows(residual: FloatArray, group: IntArray, share: float) -> float:
    num_rows = len(residual)
    _, group = np.unique(group, return_inverse=True)
    num_groups = int(group.max()) + 1
    if share in (0.0, 1.0) or num_groups == 1:
        return float(num_groups)
    sums = np.bincount(group, weights=residual)
    between = (sums**2).sum() * num_groups / (num_groups - 1) / num_rows**2
    alone = share * (1 - share) / (num_rows - 1)
    return float(num_rows / max(1.0, between / alone))


def _wilson(share: float, num_rows: float) -> tuple[float, float]:
    middle = (share + _Z**2 / (2 * num_rows)) / (1 + _Z**2 / num_rows)
    half = _Z / (1 + _Z**2 / num_rows) * np.sqrt(share * (1 - share) / num_rows + _Z**2 / (4 * num_rows**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
