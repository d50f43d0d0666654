"""Split conformal sets: labels that can't be excluded, with a promise about how often the true one is among them.

Vovk, Gammerman and Shafer (2005), Algorithmic Learning in a Random World; Sadinle, Lei and Wasserman (2019), JASA
114(525), for the score 1 - p; Vovk (2012), ACML, for the promise in each class. The promise holds over draws of
calibration and new rows together, from one population; rows of a group count as one draw only where groups are single
rows, so its coverage is measured on the test role as well.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from clsgen.errors import CalibrationError, ConfigError
from clsgen.evaluation.arrays import FloatArray, checked


def conformal_floors(prob: ArrayLike, label: ArrayLike, *, coverage: float, is_by_class: bool, role: str) -> FloatArray:
    """Gives the probability from which each label belongs to the set, (C,).

    A label c is in a row's set where p_c >= floor_c. The floor is the k-th smallest probability that calibration rows
    gave their own label, k = floor((n + 1) * (1 - coverage)); 0, so that every label is in, where k is 0.

    Args:
        prob: (N, C) calibrated probabilities.
        label: (N,) class indices.
        coverage: Promised share of sets that hold the label, above 0 and below 1.
        is_by_class: The promise in each class, from the rows of that class alone; else over all rows.
        role: The role of these rows; must be "calibration".

    Raises:
        ConfigError: role or coverage is another.
        CalibrationError: No row, or by class a class without rows.
        DataError: A probability or label can't be used.

    Nine rows, coverage 0.8: k = floor(10 * 0.2) = 2, the second smallest.

    >>> own = np.arange(1, 10) / 10
    >>> floors = conformal_floors(
    ...     np.stack([own, 1 - own], axis=1), [0] * 9, coverage=0.8, is_by_class=False, role="calibration"
    ... )
    >>> floors.round(2).tolist()
    [0.2, 0.2]
    """
    if role != "calibration":
        raise ConfigError(
            f"conformal_floors: role must be 'calibration'; got {role}. Sets are fitted on calibration rows alone."
        )
    if not 0 < coverage < 1:
        raise ConfigError(f"conformal_floors: coverage must be above 0 and below 1; got {coverage!r}. 0.9 is usual.")
    prob_NC = np.asarray(prob, dtype=np.float64)
    if prob_NC.ndim != 2:
        raise ConfigError(f"conformal_floors: prob must be of shape (N, C), one column a class; got {prob_NC.shape}.")
    data = checked("conformal_floors", prob_NC, label, None)
    own_N = data.prob[np.arange(len(data.label)), data.label]
    num_classes = data.prob.shape[1]
    parts = [own_N[data.label == c] for c in range(num_classes)] if is_by_class else [own_N] * num_classes
    for c, part in enumerate(parts):
        if not len(part):
            raise CalibrationError(
                f"conformal_floors: calibration rows must hold every class; class {c} has none. Use more rows."
            )
    return np.array([_floor(np.sort(part), coverage) for part in parts])


def _floor(ascending: FloatArray, coverage: float) -> float:
    # (n + 1)(1 - coverage) in binary can fall short of the whole number that it is meant to be.
    k = math.floor((len(ascending) + 1) * (1 - coverage) + 1e-9)
    return 0.0 if k == 0 else float(ascending[k - 1])
