"""Takes the likeliest next id that does not repeat a run of ids. N rows, V vocabulary.

A small model that copies from a document falls into loops, which greedy decoding never leaves. The rule is that of
`no_repeat_ngram_size` of transformers' generate, on the ids written so far alone: what stands in the prompt may be
copied.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from torch import Tensor

from clsgen.inference.engine import Pick


class NoRepeat(Pick):
    """Chooses the likeliest id that repeats no run; what a row writes depends on its own ids alone.

    Args:
        size: No run of so many ids is written twice in a row's text.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._written: dict[int, list[int]] = defaultdict(list)
        self._followers: dict[int, dict[tuple[int, ...], set[int]]] = defaultdict(lambda: defaultdict(set))

    def __call__(self, logits_NV: Tensor, rows: Sequence[int]) -> list[int]:
        """One id a row."""
        starts = [tuple(self._written[row][len(self._written[row]) - self._size + 1 :]) for row in rows]
        banned = [
            self._followers[row][start] if len(start) == self._size - 1 else set()
            for row, start in zip(rows, starts, strict=True)
        ]
        if any(banned):
            logits_NV = logits_NV.clone()
        for at, ids in enumerate(banned):
            if ids:
                logits_NV[at, list(ids)] = float("-inf")
        found: list[int] = logits_NV.argmax(dim=-1).tolist()
        for row, start, ids, token in zip(rows, starts, banned, found, strict=True):
            if len(start) == self._size - 1:
                ids.add(token)
            self._written[row].append(token)
        return found

    def forget(self, row: int) -> None:
        """A row has ended."""
        self._written.pop(row, None)
        self._followers.pop(row, None)
