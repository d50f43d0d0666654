"""The Brier score taken apart without bins: miscalibration, discrimination, uncertainty.

Dimitriadis, Gneiting and Jordan (2021), PNAS 118(8), the CORP decomposition: the probabilities are recalibrated by
isotonic regression on the rows themselves, and scores are compared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression

from clsgen.errors import DataError
from clsgen.evaluation.arrays import checked


class BrierParts(NamedTuple):
    """brier = miscalibration - discrimination + uncertainty.

    Attributes:
        miscalibration: What isotonic recalibration would gain; 0 is the best.
        discrimination: What the recalibrated probabilities gain over the prevalence; higher is better.
        uncertainty: Brier score of the prevalence; of the rows, not of the model.
    """

    miscalibration: float
    discrimination: float
    uncertainty: float


def brier_parts(prob: ArrayLike, label: ArrayLike) -> BrierParts:
    """The three parts of the Brier score of two classes; NaN of no rows.

    Recalibration sees the rows that it is judged on, so miscalibration is above 0 for perfect probabilities too, the
    more the fewer rows there are.

    Args:
        prob: (N,) probability of the positive class.
        label: (N,) 0 or 1.

    Every p is 1/2 of labels 0, 0, 0, 1: recalibrated to 1/4 throughout, which tells no row from another.

    >>> brier_parts([0.5] * 4, [0, 0, 0, 1])
    BrierParts(miscalibration=0.0625, discrimination=0.0, uncertainty=0.1875)
    """
    data = checked("brier_parts", prob, label, None)
    if data.prob.ndim != 1:
        raise DataError("brier_parts: prob must be of shape (N,), two classes; got one column a class.")
    if not len(data.label):
        return BrierParts(float("nan"), float("nan"), float("nan"))
    _, place, size = np.unique(data.prob, return_inverse=True, return_counts=True)
    share = np.bincount(place, weights=data.label) / size
    recalibrated = isotonic_regression(share, weights=size).x[place]
    given, best, base = (
        float(np.mean((each - data.label) ** 2)) for each in (data.prob, recalibrated, data.label.mean())
    )
    return BrierParts(given - best, base - best, base)
