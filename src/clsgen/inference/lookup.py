"""Prompt lookup: guesses what a row writes next from where its last ids stood before.

An explanation that quotes its document writes ids that stand in the prompt. The engine feeds the guess along with the
id just written and keeps what the model would have written itself, so the text stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence

_RUN = 2
"""Ids that must stand there already before the next ones are guessed."""
_GUESSED = 12
"""Ids guessed at a time, about a short sentence: one more costs little beside reading the weights once."""


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
            if len(self._ids) >= _RUN:
                self._after[tuple(self._ids[-_RUN:])] = len(self._ids)
            self._ids.append(token)

    def guess(self) -> list[int]:
        """The ids that may come next; [] where the last ones are new."""
        start = self._after.get(tuple(self._ids[-_RUN:]))
        return [] if start is None else self._ids[start : start + _GUESSED]
