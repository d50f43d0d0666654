"""Prompt lookup: guesses what a row writes next from where its last ids stood before.

An explanation that quotes its document writes ids that stand in the prompt. The engine feeds the guess along with the
id just written and keeps what the model would have written itself, so the text stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence

_GUESSED = {2: 11, 1: 3}
"""Ids that must stand there already -> ids guessed after them, the longest run first.

Two are followed by about a short sentence: so many more cost little beside reading the weights once. One is followed by
as few as cost next to nothing (see `model.products`), as they are wrong more often than not.
"""


class Lookup:
    """Guesses for one row.

    Args:
        ids: What the row reads before it writes.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self.add(ids)

    def add(self, ids: Sequence[int]) -> None:
        """Ids that follow."""
        for token in ids:
            # a run is known once something follows it, so the latest one finds the one before it
            for run in _GUESSED:
                if len(self._ids) >= run:
                    self._after[tuple(self._ids[-run:])] = len(self._ids)
            self._ids.append(token)

    def guess(self) -> list[int]:
        """The ids that may come next; [] where the last one is new."""
        for run, num_guessed in _GUESSED.items():
            start = self._after.get(tuple(self._ids[-run:]))
            if start is not None:
                return self._ids[start : start + num_guessed]
        return []
