"""Training order: each row once, like lengths together, a function of seed and epoch."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clsgen.training.sampler import LengthGroupedSampler


@given(st.lists(st.integers(1, 400), min_size=1, max_size=300), st.integers(1, 16), st.integers(0, 5))
def test_each_row_once_an_epoch(lengths, batch_size, epoch):
    sampler = LengthGroupedSampler(lengths, batch_size=batch_size, seed=1)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert sorted(order) == list(range(len(lengths)))
    assert len(sampler) == len(lengths)
    assert order == list(sampler)


def test_order_changes_with_epoch_and_seed():
    lengths = list(range(100))
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        sampler = LengthGroupedSampler(lengths, batch_size=4, seed=seed)
        sampler.set_epoch(epoch)
        orders.append(tuple(sampler))
    assert len(set(orders)) == 3


def test_batches_hold_rows_of_like_length():
    lengths = np.random.default_rng(0).lognormal(5, 0.7, 800).astype(int).tolist()
    order = list(LengthGroupedSampler(lengths, batch_size=8, seed=0))
    longest = [max(lengths[row] for row in order[at : at + 8]) for at in range(0, 800, 8)]
    padded = 8 * sum(longest) / sum(lengths)
    assert padded < 1.1  # a random order pads to about 2
