"""Chooses the probability from which the positive label is decided; on calibration rows, and on no others."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from clsgen.errors import CalibrationError, ConfigError
from clsgen.evaluation.arrays import FloatArray, IntArray, checked

ThresholdPolicy = Literal["max_f1", "half"]


def choose_threshold(prob: ArrayLike, label: ArrayLike, *, policy: ThresholdPolicy, role: str) -> float:
    """Gives the threshold t in [0, 1]; a row is decided positive where p >= t.

    Args:
        prob: (N,) calibrated probability of the positive label.
        label: (N,) 0 or 1.
        policy: `max_f1`: the cut between adjacent distinct probabilities that has the largest F1; t is their
            midpoint (the upper one where they are so near that no number lies between), or the smallest
            probability itself where all rows are best decided positive. Of equal F1 the highest cut is taken:
            fewest rows decided positive. `half`: 0.5, whatever the rows.
        role: The role of these rows; must be "calibration".

    Raises:
        ConfigError: role is another, or the policy is unknown.
        CalibrationError: max_f1 without rows of both classes.
        DataError: A probability or label can't be used.

    Deciding {0.9, 0.8, 0.4} positive has F1 = 6/7, more than any other cut; t = (0.4 + 0.2) / 2.

    >>> round(choose_threshold([0.9, 0.8, 0.4, 0.2], [1, 1, 1, 0], policy="max_f1", role="calibration"), 4)
    0.3
    """
    if role != "calibration":
        raise ConfigError(
            f"choose_threshold: role must be 'calibration', as thresholds are chosen on calibration rows; got {role}. "
            "Choose on calibration rows and apply the threshold to the others."
        )
    data = checked("choose_threshold", prob, label, None)
    if data.prob.ndim != 1:
        raise ConfigError("choose_threshold: prob must be of shape (N,), two classes; got one column a class.")
    if policy == "half":
        return 0.5
    if policy == "max_f1":
        return _max_f1(data.prob, data.label)
    raise ConfigError(f"choose_threshold: policy must be 'max_f1' or 'half'; got {policy!r}.")


def _max_f1(prob: FloatArray, label: IntArray) -> float:
    num_positive = int(label.sum())
    if num_positive in (0, len(label)):
        raise CalibrationError(
            f"choose_threshold: calibration rows must hold both classes for max_f1; got {num_positive} positive of "
            f"{len(label)}. Use more calibration rows, or calibrate.threshold: half."
        )
    ascending, inverse = np.unique(prob, return_inverse=True)
    # For each distinct probability as the lowest decided positive: rows decided, positives among them.
    num_decided = np.bincount(inverse)[::-1].cumsum()
    num_found = np.bincount(inverse, weights=label)[::-1].cumsum()
    cuts = ascending[::-1]
    # argmax takes the first of equals, which is the highest cut.
    best = int(np.argmax(2 * num_found / (num_decided + num_positive)))
    if best + 1 == len(cuts):
        return float(cuts[best])
    middle = float(cuts[best] + cuts[best + 1]) / 2
    return middle if middle > cuts[best + 1] else float(cuts[best])
