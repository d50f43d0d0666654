"""Chooses the probability from which the positive label is decided; on calibration rows, and on no others.

K operating points, one a cut between adjacent distinct probabilities, from few rows decided positive to all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from clsgen.config.policy import THRESHOLDS, Rule, parse_rule
from clsgen.errors import CalibrationError, ConfigError
from clsgen.evaluation.arrays import Checked, FloatArray, IntArray, checked, ratio


class OperatingPoints(NamedTuple):
    """Every way to cut the rows, from the highest threshold to the lowest.

    Attributes:
        threshold_K: A row is decided positive where p >= threshold.
        num_decided_K: Rows decided positive.
        num_found_K: Positives among these.
        num_positive: Positive rows in all.
        num_rows: Rows in all.
    """

    threshold_K: FloatArray
    num_decided_K: IntArray
    num_found_K: IntArray
    num_positive: int
    num_rows: int

    @property
    def sensitivity_K(self) -> FloatArray:
        """Share of positive rows decided positive."""
        return ratio(self.num_found_K, self.num_positive)

    @property
    def specificity_K(self) -> FloatArray:
        """Share of negative rows decided negative."""
        num_negative = self.num_rows - self.num_positive
        return ratio(num_negative - (self.num_decided_K - self.num_found_K), num_negative)

    @property
    def ppv_K(self) -> FloatArray:
        """Share of rows decided positive that are; NaN where none is."""
        return ratio(self.num_found_K, self.num_decided_K)

    @property
    def alert_rate_K(self) -> FloatArray:
        """Share of rows decided positive."""
        return ratio(self.num_decided_K, self.num_rows)

    @property
    def f1_K(self) -> FloatArray:
        """2 TP / (rows decided positive + positive rows)."""
        return ratio(2 * self.num_found_K, self.num_decided_K + self.num_positive)


def operating_points(prob: ArrayLike, label: ArrayLike) -> OperatingPoints:
    """Gives every cut of the rows, the one that decides no row positive included.

    A threshold is the midpoint between adjacent distinct probabilities (the upper one where no number lies between);
    the last is the smallest probability itself, the first lies halfway to 1 and is missing where a probability is 1.

    Args:
        prob: (N,) probability of the positive label.
        label: (N,) 0 or 1.

    Raises:
        CalibrationError: Rows of one class alone.
        DataError: A probability or label can't be used.

    >>> points = operating_points([0.8, 0.4, 0.2], [1, 0, 1])
    >>> points.threshold_K.round(2).tolist(), points.num_decided_K.tolist(), points.num_found_K.tolist()
    ([0.9, 0.6, 0.3, 0.2], [0, 1, 2, 3], [0, 1, 1, 2])
    """
    data = _checked("operating_points", prob, label)
    num_positive = int(data.label.sum())
    if num_positive in (0, len(data.label)):
        raise CalibrationError(
            f"operating_points: calibration rows must hold both classes; got {num_positive} positive of "
            f"{len(data.label)}. Use more calibration rows, or calibrate.threshold: half."
        )
    ascending, inverse = np.unique(data.prob, return_inverse=True)
    cuts = ascending[::-1]
    below = np.append(cuts[1:], cuts[-1])
    middle = (cuts + below) / 2
    threshold_K = np.where(middle > below, middle, cuts)
    num_decided_K = np.bincount(inverse)[::-1].cumsum()
    num_found_K = np.bincount(inverse, weights=data.label)[::-1].cumsum().astype(np.int64)
    above = (cuts[0] + 1) / 2
    if above > cuts[0]:
        threshold_K = np.concatenate([[above], threshold_K])
        num_decided_K, num_found_K = (np.concatenate([[0], counts]) for counts in (num_decided_K, num_found_K))
    return OperatingPoints(threshold_K, num_decided_K, num_found_K, num_positive, len(data.label))


def pareto_front(points: OperatingPoints) -> IntArray:
    """Indices of the cuts that no other cut beats in sensitivity, PPV and alert rate at once.

    A cut is beaten where a higher one finds as many positives with fewer alerts. Cuts that find none are left out.

    >>> pareto_front(operating_points([0.8, 0.4, 0.2], [1, 0, 1])).tolist()
    [1, 3]
    """
    found_before = np.concatenate([[0], points.num_found_K[:-1]])
    return np.flatnonzero(points.num_found_K > found_before)


def choose_threshold(prob: ArrayLike, label: ArrayLike, *, policy: str, role: str) -> float:
    """Gives the threshold t in [0, 1]; a row is decided positive where p >= t.

    Args:
        prob: (N,) calibrated probability of the positive label.
        label: (N,) 0 or 1.
        policy: Of equally good cuts the highest is taken: fewest rows decided positive.
            `half`: 0.5, whatever the rows.
            `max_f1`: largest F1.
            `youden`: largest sensitivity + specificity (Youden 1950).
            `sensitivity=S`: the highest cut whose sensitivity is at least S.
            `specificity=S`, `ppv=S`: of the cuts that keep at least S, the one that finds most positives.
            `cost=C`: least C * missed positives + false alarms.
            `alerts=A`: of the cuts that decide at most A of 1,000 rows positive, the one that finds most.
            `knee`: the cut of the Pareto front nearest to the best sensitivity, PPV and alert rate on it, each scaled
            to the front's range.
        role: The role of these rows; must be "calibration".

    Raises:
        ConfigError: role is another, or the policy is unknown.
        CalibrationError: Rows of one class alone, or no cut that keeps what the policy asks (`half` aside).
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
    try:
        rule = parse_rule(policy, THRESHOLDS)
    except ValueError as error:
        raise ConfigError(f"choose_threshold: policy {error}. Choose one of them.") from error
    if rule.name == "half":
        _checked("choose_threshold", prob, label)
        return 0.5
    data = _checked("choose_threshold", prob, label)
    points = operating_points(data.prob, data.label)
    return float(points.threshold_K[_chosen(points, rule)])


def _chosen(points: OperatingPoints, rule: Rule) -> int:
    """Index of the cut that the rule chooses. argmax and argmin take the first of equals, which is the highest cut."""
    value = 0.0 if rule.value is None else rule.value
    choices: dict[str, Callable[[], int]] = {
        "max_f1": lambda: int(np.argmax(points.f1_K)),
        "youden": lambda: int(np.argmax(_youden_K(points))),
        "knee": lambda: _knee(points),
        "sensitivity": lambda: int(np.argmax(points.sensitivity_K >= value)),
        "specificity": lambda: _most_found(points, points.specificity_K >= value, rule),
        "ppv": lambda: _most_found(points, np.nan_to_num(points.ppv_K, nan=-1.0) >= value, rule),
        "alerts": lambda: _most_found(points, 1000 * points.num_decided_K <= value * points.num_rows, rule),
        "cost": lambda: int(np.argmin(_cost_K(points, value))),
    }
    return choices[rule.name]()


def _most_found(points: OperatingPoints, is_allowed_K: np.ndarray, rule: Rule) -> int:
    """Of the allowed cuts the one that finds most positives, and of these the highest."""
    if not is_allowed_K.any():
        raise CalibrationError(
            f"choose_threshold: {rule.name} must be one that a cut of the calibration rows keeps; {rule.value:g} is "
            "kept by none. Ask for less."
        )
    return int(np.argmax(np.where(is_allowed_K, points.num_found_K, -1)))


def _cost_K(points: OperatingPoints, missed: float) -> FloatArray:
    return missed * (points.num_positive - points.num_found_K) + (points.num_decided_K - points.num_found_K)


def _youden_K(points: OperatingPoints) -> IntArray:
    """Youden's index times both classes' rows, in whole numbers: equal cuts are equal."""
    num_negative = points.num_rows - points.num_positive
    num_false = points.num_decided_K - points.num_found_K
    return points.num_found_K * num_negative - num_false * points.num_positive


def _knee(points: OperatingPoints) -> int:
    front = pareto_front(points)
    distance = np.zeros(len(front))
    for value_K, best in ((points.sensitivity_K, np.max), (points.ppv_K, np.max), (points.alert_rate_K, np.min)):
        on_front = value_K[front]
        spread = float(np.ptp(on_front))
        if spread > 0:
            distance += ((on_front - best(on_front)) / spread) ** 2
    return int(front[np.argmin(distance)])


def _checked(where: str, prob: ArrayLike, label: ArrayLike) -> Checked:
    data = checked(where, prob, label, None)
    if data.prob.ndim != 1:
        raise ConfigError(f"{where}: prob must be of shape (N,), two classes; got one column a class.")
    return data
