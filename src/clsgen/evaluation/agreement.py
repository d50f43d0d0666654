"""Agreement of several reviewers beyond chance. N items, C categories, weights (..., N).

Both take how many reviewers chose each category of each item, so that the order of reviewers does not matter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from clsgen.errors import DataError
from clsgen.evaluation.arrays import FloatArray, checked_weight, ratio


def fleiss_kappa(counts: ArrayLike, weight: ArrayLike | None = None) -> FloatArray:
    """Fleiss' kappa: agreement of equally many reviewers an item, beyond the chance of their common margins.

    1 is full agreement, 0 what chance gives. NaN where one category is all that was chosen, and for empty input.
    Fleiss (1971), Psychological Bulletin 76(5).

    Args:
        counts: Reviewers by item and category, (N, C); every row sums to the same number, 2 or more.
        weight: Item weights (..., N); None: 1 each.

    Raises:
        DataError: Rows of other sums.

    Two reviewers, three items, agreed on two: mean agreement 2/3; margins (1/2, 1/2); (2/3 - 1/2) / (1 - 1/2).

    >>> round(float(fleiss_kappa([[2, 0], [0, 2], [1, 1]])), 4)
    0.3333
    """
    counts_NC = _checked("fleiss_kappa", counts)
    weight_N = checked_weight("fleiss_kappa", weight, num_rows=len(counts_NC))
    num_each = counts_NC.sum(axis=1)
    if len(counts_NC) and (num_each[0] < 2 or (num_each != num_each[0]).any()):
        raise DataError("fleiss_kappa: items must have equally many reviewers, 2 or more. Leave the others out.")
    num = num_each[0] if len(num_each) else 2.0
    agreed_N = (counts_NC * (counts_NC - 1)).sum(axis=1) / (num * (num - 1))
    total = weight_N.sum(-1)
    agreed = ratio(weight_N @ agreed_N, total)
    margin_C = ratio(weight_N @ counts_NC, (total * num)[..., None])
    by_chance = (margin_C**2).sum(-1)
    return ratio(agreed - by_chance, _gap(by_chance))


def krippendorff_alpha(counts: ArrayLike, weight: ArrayLike | None = None) -> FloatArray:
    """Krippendorff's alpha for nominal answers: any number of reviewers an item; items with fewer than two say nothing.

    1 is full agreement, 0 what chance gives. NaN where one category is all that was chosen, and without an item of
    two answers. Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability".

    Args:
        counts: Reviewers by item and category, (N, C).
        weight: Item weights (..., N); None: 1 each.

    Three items of two answers: coincidences 2, 2 and a pair of 1s; disagreement 2/6 against 18/30.

    >>> round(float(krippendorff_alpha([[2, 0], [0, 2], [1, 1]])), 4)
    0.4444
    """
    counts_NC = _checked("krippendorff_alpha", counts)
    weight_N = checked_weight("krippendorff_alpha", weight, num_rows=len(counts_NC))
    num_each = counts_NC.sum(axis=1)
    is_paired = (num_each >= 2).astype(np.float64)
    counts_NC = counts_NC * is_paired[:, None]
    same_N = (counts_NC * (counts_NC - 1)).sum(axis=1) / np.maximum(num_each - 1, 1)
    values_C = weight_N @ counts_NC
    total = values_C.sum(-1)
    observed = 1 - ratio(weight_N @ same_N, total)
    by_chance = 1 - ratio((values_C * (values_C - 1)).sum(-1), total * (total - 1))
    return 1 - ratio(observed, np.where(by_chance <= 1e-12, 0.0, by_chance))


def _gap(by_chance: FloatArray) -> FloatArray:
    """1 - p_e, and 0 exactly where rounding alone keeps it from 0."""
    return np.where(by_chance >= 1 - 1e-12, 0.0, 1 - by_chance)


def _checked(where: str, counts: ArrayLike) -> FloatArray:
    counts_NC = np.asarray(counts, dtype=np.float64)
    if counts_NC.ndim != 2 or (counts_NC < 0).any() or (counts_NC != np.floor(counts_NC)).any():
        raise DataError(f"{where}: counts must be whole numbers of shape (N, C), none negative; got {counts_NC.shape}.")
    return counts_NC
