"""The order of the training rows: shuffled, rows of like length together, a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

MEGABATCHES = 50
"""Batches that are shuffled together and then sorted by length."""


class LengthGroupedSampler(Sampler[int]):
    """Row indices, each once an epoch.

    Rows are shuffled, cut into pools of 50 batches, and each pool is sorted by length: little padding, yet another
    order every epoch. The order depends on seed and epoch only, so a resumed run sees what an uninterrupted one does.
    """

    def __init__(self, lengths: Sequence[int], *, batch_size: int, seed: int) -> None:
        self._lengths = list(lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        order = torch.randperm(len(self._lengths), generator=generator).tolist()
        pool = self._batch_size * MEGABATCHES
        batches: list[list[int]] = []
        for start in range(0, len(order), pool):
            rows = sorted(order[start : start + pool], key=lambda row: -self._lengths[row])
            batches += [rows[at : at + self._batch_size] for at in range(0, len(rows), self._batch_size)]
        whole = [batch for batch in batches if len(batch) == self._batch_size]
        rest = [batch for batch in batches if len(batch) < self._batch_size]
        mixed = torch.randperm(len(whole), generator=generator).tolist()
        for batch in [*(whole[index] for index in mixed), *rest]:
            yield from batch
