"""The order of the training rows: shuffled, rows of like length together, a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import torch
from torch.utils.data import Sampler

MEGABATCHES = 50
"""Batches that are shuffled together and then sorted by length."""


class LengthGroupedSampler(Sampler[int]):
    """Row indices, each once an epoch, and blanks at its end.

    Rows are shuffled, cut into pools of 50 batches, and each pool is sorted by length: little padding, yet another
    order every epoch. The order depends on seed and epoch only, so a resumed run sees what an uninterrupted one does.

    Args:
        lengths: Tokens of each row.
        batch_size: Rows a batch.
        seed: Of the order.
        documents: What each row is about: rows about one document stand side by side. None: each by itself.
        num_blank: How often the index after the last row, of a row that counts in no loss, comes at the end.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_size: int,
        seed: int,
        documents: Sequence[Hashable] | None = None,
        num_blank: int = 0,
    ) -> None:
        self._lengths = list(lengths)
        self._num_blank = num_blank
        units: dict[Hashable, list[int]] = {}
        for row, document in enumerate(range(len(lengths)) if documents is None else documents):
            units.setdefault(document, []).append(row)
        self._units = list(units.values())
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths) + self._num_blank

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        order = torch.randperm(len(self._units), generator=generator).tolist()
        pool = max(1, self._batch_size * MEGABATCHES * len(self._units) // max(1, len(self._lengths)))
        batches: list[list[int]] = []
        for start in range(0, len(order), pool):
            units = [self._units[index] for index in order[start : start + pool]]
            longest = sorted(units, key=lambda unit: -max(self._lengths[row] for row in unit))
            rows = [row for unit in longest for row in unit]
            batches += [rows[at : at + self._batch_size] for at in range(0, len(rows), self._batch_size)]
        whole = [batch for batch in batches if len(batch) == self._batch_size]
        rest = [batch for batch in batches if len(batch) < self._batch_size]
        mixed = torch.randperm(len(whole), generator=generator).tolist()
        for batch in [*(whole[index] for index in mixed), *rest]:
            yield from batch
        yield from [len(self._lengths)] * self._num_blank
