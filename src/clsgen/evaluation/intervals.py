"""Percentile intervals by cluster bootstrap: whole groups are drawn with replacement, and rows follow their group.

A draw is held as counts, so a statistic is computed on the rows as they stand with the counts as weights, and
every statistic sees the same draws. Intervals cover the sampling of test rows, not the seeds of training.
Cameron, Gelbach and Miller (2008), Review of Economics and Statistics 90(3), on drawing clusters.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clsgen.errors import DataError
from clsgen.evaluation.arrays import FloatArray, IntArray

_MAX_ELEMENTS = 2**19
_MAX_ROUNDS = 1000

MAX_DRAWN_ROWS = 10**9
"""Rows times draws beyond which none is made: they would take minutes to hours."""

TOO_FEW = "no interval: too few groups to draw from"
TOO_MANY = "no interval: rows times draws above 1,000,000,000; ask for fewer draws"


class Interval(NamedTuple):
    """A figure with its percentile interval.

    Attributes:
        estimate: The statistic on all its rows, once each; NaN where undefined.
        low: Lower end; NaN without an estimate, with one group, or where no draw could be made.
        high: Upper end, likewise.
        num_rows: Rows that the statistic reads.
        num_groups: Groups among these rows.
        num_redrawn: Draws thrown away and drawn again because they lacked a class.
        num_undefined: Draws kept in which this statistic is undefined (such as a PPV where none is decided
            positive); they are left out of its percentiles.
    """

    estimate: float
    low: float
    high: float
    num_rows: int
    num_groups: int
    num_redrawn: int
    num_undefined: int


@dataclass(frozen=True, slots=True)
class Statistic:
    """A figure of some of the rows.

    Attributes:
        compute: Weights (..., n) of the rows named by `rows` -> values (...).
        rows: (n,) indices into all rows.
    """

    compute: Callable[[FloatArray], FloatArray]
    rows: IntArray


@dataclass(frozen=True, slots=True)
class Draws:
    """Bootstrap draws of groups.

    Attributes:
        count_RG: How often each draw holds each group; no draw at all where none could be made.
        group_N: Index of each row's group.
        num_redrawn: Draws thrown away because they lacked a class.
        reason: Why there is no draw; "" where there are some.
    """

    count_RG: NDArray[np.uint8]
    group_N: IntArray
    num_redrawn: int
    reason: str = ""

    def chunks(self) -> list[slice]:
        """A few draws at a time, so that their weights stay small; all of them in order."""
        size = max(1, _MAX_ELEMENTS // max(1, len(self.group_N)))
        return [slice(start, start + size) for start in range(0, len(self.count_RG), size)]

    def weights(self, chunk: slice) -> FloatArray:
        """Row weights (r, N) of some draws."""
        return self.count_RG[chunk, self.group_N].astype(np.float64)


def draw_groups(group: ArrayLike, label: ArrayLike, *, num_draws: int = 1000, seed: int = 0) -> Draws:
    """Draws as many groups as there are, with replacement, num_draws times.

    Args:
        group: (N,) name or index of each row's group; the order of rows does not change the draws.
        label: (N,) class index, -1 where unlabelled. A draw that lacks a class which the rows have is redrawn.
        num_draws: Draws, R.
        seed: Seed of the draws.

    Returns:
        The draws; none of them where there is one group only, where rows times draws pass MAX_DRAWN_ROWS, or where
        classes stand in so few groups that a draw with all of them did not come up in 1,000 attempts.

    Raises:
        DataError: group and label differ in length.
    """
    names, group_N = np.unique(np.asarray(group), return_inverse=True)
    label_N = np.asarray(label, dtype=np.int64)
    if label_N.shape != group_N.shape:
        raise DataError(f"draw_groups: label must be as long as group ({len(group_N)}); got {label_N.shape}.")
    num_groups = len(names)
    none = np.zeros((0, num_groups), dtype=np.uint8)
    if num_groups < 2:
        return Draws(none, group_N, 0, TOO_FEW)
    if num_draws * len(label_N) > MAX_DRAWN_ROWS:
        return Draws(none, group_N, 0, TOO_MANY)
    has_class_GC = _class_counts(group_N, label_N, num_groups)
    count_RG = np.zeros((num_draws, num_groups), dtype=np.uint8)
    rng = np.random.default_rng(seed)
    pending, num_redrawn = np.arange(num_draws), 0
    lacks_class = np.zeros(num_draws, dtype=bool)
    for _ in range(_MAX_ROUNDS):
        for draw in pending:
            counts = np.bincount(rng.integers(num_groups, size=num_groups), minlength=num_groups)
            count_RG[draw] = counts  # more than 255 of one group does not happen: below 256 groups it can't
            lacks_class[draw] = (counts @ has_class_GC == 0).any()
        pending = pending[lacks_class[pending]]
        num_redrawn += len(pending)
        if not len(pending):
            return Draws(count_RG, group_N, num_redrawn)
    return Draws(none, group_N, num_redrawn, TOO_FEW)


def cluster_bootstrap(
    statistics: Mapping[str, Statistic], draws: Draws, *, confidence: float = 0.95
) -> dict[str, Interval]:
    """Gives each statistic's estimate and percentile interval, all from the same draws.

    >>> import numpy as np
    >>> draws = draw_groups(["a", "b", "c", "d"], [0, 0, 1, 1], num_draws=200, seed=1)
    >>> value = np.array([2.0, 2.0, 2.0, 2.0])
    >>> mean = Statistic(lambda weight: weight @ value / weight.sum(-1), np.arange(4))
    >>> cluster_bootstrap({"mean": mean}, draws)["mean"][:5]
    (2.0, 2.0, 2.0, 4, 4)

    Raises:
        DataError: confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise DataError(f"cluster_bootstrap: confidence must be between 0 and 1; got {confidence!r}.")
    rows_of = {id(each.rows): each.rows for each in statistics.values()}

    def computed(chunk: slice) -> dict[str, FloatArray]:
        weight_RN = draws.weights(chunk)
        weight_of = {key: weight_RN[:, rows] for key, rows in rows_of.items()}  # gathered once for all that read them
        return {name: each.compute(weight_of[id(each.rows)]) for name, each in statistics.items()}

    with ThreadPoolExecutor(_num_threads()) as pool:  # numpy computes outside the interpreter's lock
        parts = list(pool.map(computed, draws.chunks()))
    return {
        name: _interval(statistic, np.concatenate([np.zeros(0), *(part[name] for part in parts)]), draws, confidence)
        for name, statistic in statistics.items()
    }


def _num_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def paired_difference(first: Statistic, second: Statistic, draws: Draws, *, confidence: float = 0.95) -> Interval:
    """Gives first - second with its interval, both computed on the same rows in each draw.

    Raises:
        DataError: The two read different rows: their difference would not be paired.
    """
    if not np.array_equal(first.rows, second.rows):
        raise DataError(
            "paired_difference: first and second must read the same rows in the same order; "
            f"got {len(first.rows)} and {len(second.rows)} rows. Keep the rows that both systems have."
        )
    difference = Statistic(lambda weight: first.compute(weight) - second.compute(weight), first.rows)
    return cluster_bootstrap({"difference": difference}, draws, confidence=confidence)["difference"]


def _class_counts(group_N: IntArray, label_N: IntArray, num_groups: int) -> NDArray[np.int32]:
    classes = np.unique(label_N[label_N >= 0])
    counts = np.zeros((num_groups, len(classes)), dtype=np.int32)
    for column, name in enumerate(classes):
        counts[:, column] = np.bincount(group_N[label_N == name], minlength=num_groups)
    return counts


def _interval(statistic: Statistic, drawn_R: FloatArray, draws: Draws, confidence: float) -> Interval:
    estimate = float(statistic.compute(np.ones(len(statistic.rows))))
    defined = drawn_R[~np.isnan(drawn_R)]
    num_groups = len(np.unique(draws.group_N[statistic.rows]))
    low = high = float("nan")
    if len(defined) and num_groups > 1 and not np.isnan(estimate):
        tail = (1 - confidence) / 2
        low, high = (float(end) for end in np.quantile(defined, [tail, 1 - tail]))
    return Interval(
        estimate=estimate,
        low=low,
        high=high,
        num_rows=len(statistic.rows),
        num_groups=num_groups,
        num_redrawn=draws.num_redrawn,
        num_undefined=len(drawn_R) - len(defined),
    )
