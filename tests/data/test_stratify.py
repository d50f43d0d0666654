"""Components are dealt whole, near the shares asked for, with every class in every bin."""

from __future__ import annotations

import numpy as np
import pytest

from clsgen.data.stratify import components_by_bin, deal


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rows_on_their_own_meet_the_shares_within_one_row(seed: int) -> None:
    counts_GK = np.repeat(np.eye(3, dtype=np.int64), [600, 300, 100], axis=0)
    bin_G = deal(counts_GK, [0.75, 0.1, 0.15], seed=seed)
    dealt_RK = np.stack([counts_GK[bin_G == each].sum(axis=0) for each in range(3)])
    expected_RK = np.outer([0.75, 0.1, 0.15], [600, 300, 100])
    assert np.abs(dealt_RK - expected_RK).max() <= 1


def test_components_of_any_size_stay_near_the_shares() -> None:
    rng = np.random.default_rng(0)
    counts_GK = rng.geometric(0.25, size=(400, 1)) * rng.multinomial(1, [0.6, 0.3, 0.1], size=400)
    counts_GK += rng.multinomial(1, [0.6, 0.3, 0.1], size=400)
    shares = [0.75, 0.1, 0.15]
    bin_G = deal(counts_GK, shares, seed=0)
    for index, share in enumerate(shares):
        realised_K = counts_GK[bin_G == index].sum(axis=0) / counts_GK.sum(axis=0)
        assert np.abs(realised_K - share).max() < 0.02


def test_the_seed_moves_rows_and_repeats() -> None:
    counts_GK = np.ones((50, 1), dtype=np.int64)
    first, again, other = (deal(counts_GK, [0.5, 0.5], seed=seed).tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_a_rare_class_reaches_every_bin() -> None:
    # Four components hold the rare class, in twos and threes: by shares alone the small bins would get none.
    counts_GK = np.array([[1, 0]] * 100 + [[2, 3], [2, 3], [3, 2], [3, 2]])
    bin_G = deal(counts_GK, [0.7, 0.1, 0.1, 0.1], seed=0)
    assert components_by_bin(counts_GK, bin_G, 4)[:, 1].tolist() == [1, 1, 1, 1]


def test_a_component_is_not_taken_where_it_would_leave_none() -> None:
    counts_GK = np.array([[5, 0], [5, 1]])
    bin_G = deal(counts_GK, [0.5, 0.5], seed=0)
    assert components_by_bin(counts_GK, bin_G, 2)[:, 0].tolist() == [1, 1]
    assert components_by_bin(counts_GK, bin_G, 2)[:, 1].sum() == 1


def test_fixed_components_stay_in_the_first_bin_and_count_there() -> None:
    counts_GK = np.ones((10, 1), dtype=np.int64)
    is_first_G = np.arange(10) < 5
    bin_G = deal(counts_GK, [0.5, 0.5], seed=0, is_first_G=is_first_G)
    assert bin_G.tolist() == [0] * 5 + [1] * 5
