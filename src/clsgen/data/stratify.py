"""Deals whole components into bins, so that every bin gets its share of every class.

Shapes: G components, K classes, R bins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def deal(
    counts_GK: NDArray[np.int64], shares: Sequence[float], *, seed: int, is_first_G: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """The bin of each component: greedy, largest component first, each to the bin that it fits best.

    The best bin lowers the chi-square distance sum((n - t)^2 / t) most, n being the rows of a class that the bin
    has and t those it should have. Components of one size are taken in the seed's order. Then a bin that lacks a
    class takes the least costly component from a bin that can spare it.

    Args:
        counts_GK: Rows of each class in each component.
        shares: Share of the rows for each bin, above 0, adding up to 1.
        seed: Decides among equals; the result depends on nothing else but the arguments.
        is_first_G: Components that must go to bin 0; None: none.

    Returns:
        (G,) int64, bin indices.

    >>> deal(np.array([[1, 0], [1, 0], [0, 1], [0, 1]]), [0.5, 0.5], seed=0).tolist() in (
    ...     [0, 1, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 1, 0])
    True
    """
    num_components, _ = counts_GK.shape
    targets_RK = np.maximum(np.outer(shares, counts_GK.sum(axis=0)), 1e-9)
    filled_RK = np.zeros_like(targets_RK)
    bin_G = np.zeros(num_components, dtype=np.int64)
    is_fixed_G = np.zeros(num_components, dtype=np.bool_) if is_first_G is None else is_first_G
    filled_RK[0] += counts_GK[is_fixed_G].sum(axis=0)
    order = np.random.default_rng(seed).permutation(num_components)
    order = order[np.argsort(-counts_GK.sum(axis=1)[order], kind="stable")]
    for component in order[~is_fixed_G[order]]:
        rows_K = counts_GK[component]
        bin_G[component] = np.argmin(_added_distance(rows_K, filled_RK, targets_RK))
        filled_RK[bin_G[component]] += rows_K
    return _fill_lacking(counts_GK, bin_G, targets_RK, is_fixed_G)


def _added_distance(
    rows_K: NDArray[np.int64], filled_RK: NDArray[np.float64], targets_RK: NDArray[np.float64]
) -> NDArray[np.float64]:
    """By how much each bin's distance grows with these rows, (R,)."""
    added_RK: NDArray[np.float64] = rows_K * (2 * (filled_RK - targets_RK) + rows_K) / targets_RK
    total_R: NDArray[np.float64] = added_RK.sum(axis=1)
    return total_R


def _fill_lacking(
    counts_GK: NDArray[np.int64],
    bin_G: NDArray[np.int64],
    targets_RK: NDArray[np.float64],
    is_fixed_G: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """The bins, after each bin that lacks a class took a component from one that keeps another of that class."""
    bin_G = bin_G.copy()
    num_bins, num_classes = targets_RK.shape
    for bin_index in range(num_bins):
        for class_index in range(num_classes):
            holders_RK = components_by_bin(counts_GK, bin_G, num_bins)
            if holders_RK[bin_index, class_index]:
                continue
            has_class_G = (counts_GK[:, class_index] > 0) & ~is_fixed_G
            would_empty_G = ((holders_RK[bin_G] == 1) & (counts_GK > 0)).any(axis=1)
            candidates = np.flatnonzero(has_class_G & ~would_empty_G)
            if candidates.size:
                filled_K = counts_GK[bin_G == bin_index].sum(axis=0).astype(np.float64)
                costs = [
                    _added_distance(counts_GK[each], filled_K[None], targets_RK[bin_index][None])[0]
                    for each in candidates
                ]
                bin_G[candidates[int(np.argmin(costs))]] = bin_index
    return bin_G


def components_by_bin(counts_GK: NDArray[np.int64], bin_G: NDArray[np.int64], num_bins: int) -> NDArray[np.int64]:
    """How many components of each bin hold each class, (R, K).

    >>> components_by_bin(np.array([[2, 0], [1, 1]]), np.array([0, 0]), 2).tolist()
    [[2, 1], [0, 0]]
    """
    holders_RK = np.zeros((num_bins, counts_GK.shape[1]), dtype=np.int64)
    np.add.at(holders_RK, bin_G, (counts_GK > 0).astype(np.int64))
    return holders_RK
