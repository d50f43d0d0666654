"""Rows that write together without padding, and may come and go at any step. T tokens, D hidden, V vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from clsgen.inference.engine import Pick, Prefilled, Writer, asks
from clsgen.inference.lookup import Lookup
from clsgen.model.decoder import Decoder, Kept
from clsgen.model.dual import DualModel

_MAX_ROWS = {"cpu": 32, "cuda": 128}
"""Rows that write at a time."""


@dataclass(frozen=True, slots=True)
class Packed(Prefilled):
    """Rows read together, each kept by itself.

    Attributes:
        class_logits_BC: float32, on the CPU.
        num_tokens: Length of each prompt.
        kept: Each row's keys and values, in one part or two.
        prompts: Each row's ids.
    """

    class_logits_BC: Tensor
    num_tokens: tuple[int, ...]
    kept: tuple[tuple[Kept, ...], ...]
    prompts: tuple[tuple[int, ...], ...]

    def select(self, rows: Sequence[int]) -> Packed:
        """The same for some of the rows, in the order given."""
        return Packed(
            self.class_logits_BC[list(rows)],
            tuple(self.num_tokens[row] for row in rows),
            tuple(self.kept[row] for row in rows),
            tuple(self.prompts[row] for row in rows),
        )


@dataclass(slots=True)
class _Writing:
    """A row that writes. feed: ids to be read next, the last `num_guessed` of them a guess."""

    key: int
    feed: list[int]
    lookup: Lookup | None
    max_new_tokens: int
    num_guessed: int = 0
    written: list[int] = field(default_factory=list)


class FastWriter(Writer):
    """Writes for the fast engine.

    Args:
        model: The model.
        decoder: Over its language model.
        end_id: Where a text ends.
        pick: Chooses among the next ids.
        has_lookup: Whether what is written is guessed from the prompt first.
    """

    def __init__(self, model: DualModel, decoder: Decoder, *, end_id: int, pick: Pick, has_lookup: bool) -> None:
        self.model, self._decoder, self._end_id, self._pick = model, decoder, end_id, pick
        self._has_lookup = has_lookup
        self._slots = decoder.new_slots()
        self._writing: list[_Writing] = []

    @property
    def num_rows(self) -> int:
        """Rows that write."""
        return len(self._writing)

    @property
    def max_rows(self) -> int:
        """Rows that may write at a time."""
        return _MAX_ROWS.get(self.model.device.type, 32)

    @torch.inference_mode()
    def add(self, key: int, prefilled: Prefilled, forced: Sequence[int], *, max_new_tokens: int) -> None:
        """Let a row write; see `Writer`."""
        assert isinstance(prefilled, Packed)
        self._slots.add(prefilled.kept[0])
        lookup = Lookup([*prefilled.prompts[0], *forced]) if self._has_lookup else None
        self._writing.append(_Writing(key, list(forced), lookup, max_new_tokens))

    @torch.inference_mode()
    def drop(self, key: int) -> None:
        """Free the slot of a row that need not end."""
        for at, each in enumerate(self._writing):
            if each.key == key:
                self._remove(at)
                return

    @asks
    def step(self) -> dict[int, list[int]]:
        """Key -> ids just written, one or more, for every row; one that ended gives the end id last and is gone."""
        new = self._written(self._decoder.write(self._slots, [each.feed for each in self._writing]))
        found = {each.key: list(ids) for each, ids in zip(self._writing, new, strict=True)}
        for at in reversed(range(len(self._writing))):
            self._go_on(at, new[at])
        return found

    def _written(self, hidden_TD: Tensor) -> list[list[int]]:
        """What each row writes: one id, and one more for every guess that was right before it."""
        writing = self._writing
        ends = torch.tensor([len(each.feed) for each in writing]).cumsum(0).tolist()
        firsts = [end - 1 - each.num_guessed for end, each in zip(ends, writing, strict=True)]
        wanted = [at for first, end in zip(firsts, ends, strict=True) for at in range(first, end)]
        logits_NV = self.model.vocabulary_logits(hidden_TD[wanted])
        found: list[list[int]] = [[] for _ in writing]
        starts = [0]
        for each in writing:
            starts.append(starts[-1] + 1 + each.num_guessed)
        going = list(range(len(writing)))
        while going:
            keys = [writing[at].key for at in going]
            rows = [starts[at] + len(found[at]) for at in going]
            chosen = self._pick(logits_NV[rows[0] : rows[0] + 1] if len(rows) == 1 else logits_NV[rows], keys)
            for at, token in zip(going, chosen, strict=True):
                found[at].append(token)
            going = [at for at in going if self._is_guessed(writing[at], found[at])]
        return found

    def _is_guessed(self, each: _Writing, found: Sequence[int]) -> bool:
        """Whether the last id found is what was guessed, so that the next one is known too."""
        num_found = len(found)
        if num_found > each.num_guessed or found[-1] == self._end_id:
            return False
        return found[-1] == each.feed[len(each.feed) - each.num_guessed + num_found - 1]

    def _go_on(self, at: int, new: Sequence[int]) -> None:
        """Keep what a row wrote, and guess what comes next or free its slot."""
        each = self._writing[at]
        each.written += new
        self._slots.lengths[at] -= each.num_guessed - (len(new) - 1)  # guesses that were wrong are forgotten
        room = each.max_new_tokens - len(each.written)
        assert room >= 0  # guesses are never longer than what a row may write
        if each.written[-1] == self._end_id or not room:
            self._remove(at)
            return
        guess: list[int] = []
        if each.lookup is not None:
            each.lookup.add(new)
            guess = each.lookup.guess()[: room - 1]
        each.feed, each.num_guessed = [each.written[-1], *guess], len(guess)

    def _remove(self, at: int) -> None:
        self._slots.remove(at)
        self._pick.forget(self._writing[at].key)
        self._writing[at] = self._writing[-1]
        self._writing.pop()
        if not self._writing:
            self._slots = self._decoder.new_slots()  # as large as the longest row so far, for as many as ever wrote
