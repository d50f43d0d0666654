"""The fast engine: rows without padding, and rows that end make room for others. T tokens, D hidden, V vocabulary."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

import torch
from torch import Tensor

from clsgen.data.template import Prompt
from clsgen.inference.engine import Engine, Pick, Prefilled, likeliest
from clsgen.inference.lookup import Lookup
from clsgen.inference.plain_engine import PlainEngine
from clsgen.model.decoder import Decoder, Kept, can_read
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

    row: int
    feed: list[int]
    lookup: Lookup | None
    num_guessed: int = 0
    written: list[int] = field(default_factory=list)


class FastEngine(Engine):
    """Reads the architectures of `model.decoder`.

    Args:
        model: The model.
        pad_id: A reserved id.
        end_id: Where an explanation ends.
        has_lookup: Whether what is written is guessed from the prompt first: faster where it quotes.

    Attributes:
        memory: Keys and values of what was read, by its ids, for engines that read documents alike (see Panel); whoever
            sets it empties it. None: nothing is remembered.
    """

    name = "fast"
    memory: dict[tuple[int, ...], Kept] | None = None

    def __init__(self, model: DualModel, *, pad_id: int, end_id: int, has_lookup: bool = True) -> None:
        super().__init__(model, pad_id=pad_id, end_id=end_id)
        self._decoder = Decoder(model.language_model)
        self._has_lookup = has_lookup
        self._max_rows = _MAX_ROWS.get(model.device.type, 32)

    def plan(self, prompts: Sequence[Prompt], *, batch_tokens: int) -> list[list[int]]:
        """Prompts about one document together, whose tokens count once; the largest groups first."""
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for row, prompt in enumerate(prompts):
            groups[_document_of(prompt) or (-1, row)].append(row)
        units = [unit for rows in groups.values() for unit in _units(rows, prompts, batch_tokens)]
        batches: list[list[int]] = []
        room = 0
        for num_tokens, rows in sorted(units, key=lambda unit: (-unit[0], unit[1][0])):
            if num_tokens > room:
                batches.append([])
                room = batch_tokens
            batches[-1] += rows
            room -= num_tokens
        return batches

    @torch.inference_mode()
    def class_logits(self, prompts: Sequence[Prompt]) -> Tensor:
        """Class logits (B, C) float32 on the CPU; generates nothing, keeps nothing."""
        hidden_BD, _ = self._read(prompts, keeps=False)
        class_logits_BC: Tensor = self.model.head(hidden_BD)
        return class_logits_BC.cpu()

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Prompt]) -> Packed:
        """Read prompts once, for both heads."""
        hidden_BD, kept = self._read(prompts, keeps=True)
        ids = tuple(tuple(prompt.ids) for prompt in prompts)
        return Packed(self.model.head(hidden_BD).cpu(), tuple(map(len, ids)), tuple(kept), ids)

    def _read(self, prompts: Sequence[Prompt], *, keeps: bool) -> tuple[Tensor, list[tuple[Kept, ...]]]:
        """Hidden states at the decision positions (B, D), and the parts that were kept of each prompt.

        A document that several prompts ask about is read once; so is what comes before an activated adapter acts.
        """
        ids, ends = [prompt.ids for prompt in prompts], [prompt.document_end for prompt in prompts]
        starts = self.model.starts_of(ids, ends, is_shared=self.memory is not None)
        heads = [tuple(row[:start]) for row, start in zip(ids, starts, strict=True)]
        known = self._known({head for head in heads if head})
        before = [known.get(head) for head in heads]
        rest = [prompt.ids[start:] for prompt, start in zip(prompts, starts, strict=True)]
        hidden_BD, own = self._decoder.read(rest, keeps=keeps, after=before)
        if not keeps:
            return hidden_BD, []
        return hidden_BD, [(part,) if first is None else (first, part) for first, part in zip(before, own, strict=True)]

    def _known(self, rows: Set[tuple[int, ...]]) -> dict[tuple[int, ...], Kept]:
        """Keys and values of rows, which are read where they are not remembered."""
        memory = {} if self.memory is None else self.memory
        memory.update(self.model.read_before({row for row in rows if row not in memory}))
        return memory

    def joined(self, parts: Sequence[Prefilled]) -> list[Prefilled]:
        """All rows together."""
        packed = [part for part in parts if isinstance(part, Packed)]
        if len(packed) < 2:
            return list(parts)
        return [
            Packed(
                torch.cat([part.class_logits_BC for part in packed]),
                tuple(length for part in packed for length in part.num_tokens),
                tuple(kept for part in packed for kept in part.kept),
                tuple(prompt for part in packed for prompt in part.prompts),
            )
        ]

    def steps(
        self, prefilled: Prefilled, forced: Sequence[Sequence[int]], *, max_new_tokens: int, pick: Pick = likeliest
    ) -> Iterator[dict[int, list[int]]]:
        """Decode step by step; a row that ends makes room for the next one that waits."""
        assert isinstance(prefilled, Packed)
        waiting = deque(range(len(forced)))
        writing: list[_Writing] = []
        slots = self._decoder.new_slots()
        while waiting or writing:
            while waiting and len(writing) < self._max_rows:
                row = waiting.popleft()
                slots.add(prefilled.kept[row])
                lookup = Lookup([*prefilled.prompts[row], *forced[row]]) if self._has_lookup else None
                writing.append(_Writing(row, list(forced[row]), lookup))
            with torch.inference_mode():
                new = self._written(self._decoder.write(slots, [each.feed for each in writing]), writing, pick)
            yield self._accept(new, writing, max_new_tokens)
            for at in reversed(range(len(writing))):
                each = writing[at]
                slots.lengths[at] -= each.num_guessed - (len(new[at]) - 1)  # guesses that were wrong are forgotten
                if each.written[-1] == self.end_id or len(each.written) == max_new_tokens:
                    slots.remove(at)
                    writing[at] = writing[-1]
                    writing.pop()
                else:
                    self._guess(each, max_new_tokens - len(each.written) - 1)

    def _written(self, hidden_TD: Tensor, writing: Sequence[_Writing], pick: Pick) -> list[list[int]]:
        """What each row writes: one id, and one more for every guess that was right before it."""
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
            chosen = pick(logits_NV[[starts[at] + len(found[at]) for at in going]], [writing[at].row for at in going])
            for at, token in zip(going, chosen, strict=True):
                found[at].append(token)
            going = [at for at in going if self._goes_on(writing[at], found[at])]
        return found

    def _goes_on(self, each: _Writing, found: Sequence[int]) -> bool:
        num_found = len(found)
        if num_found > each.num_guessed or found[-1] == self.end_id:
            return False
        return found[-1] == each.feed[len(each.feed) - each.num_guessed + num_found - 1]

    def _accept(
        self, new: Sequence[Sequence[int]], writing: Sequence[_Writing], max_new_tokens: int
    ) -> dict[int, list[int]]:
        """Add what was written to the rows; never more than they may write, as guesses are no longer than that."""
        for each, ids in zip(writing, new, strict=True):
            each.written += ids
            if each.lookup is not None:
                each.lookup.add(ids)
                if each.num_guessed:
                    each.lookup.learn(each.num_guessed, len(ids) - 1)
        assert all(len(each.written) <= max_new_tokens for each in writing)
        return {each.row: list(ids) for each, ids in zip(writing, new, strict=True)}

    def _guess(self, each: _Writing, room: int) -> None:
        guess = [] if each.lookup is None else each.lookup.guess()[: max(room, 0)]
        each.feed, each.num_guessed = [each.written[-1], *guess], len(guess)


def _units(rows: Sequence[int], prompts: Sequence[Prompt], batch_tokens: int) -> list[tuple[int, list[int]]]:
    """Prompts about one document as (tokens, indices): one unit, or several where a batch can't hold them all."""
    units: list[tuple[int, list[int]]] = []
    for row in rows:
        num_tokens, document_end = len(prompts[row].ids), prompts[row].document_end
        if units and units[-1][0] + num_tokens - document_end <= batch_tokens:
            units[-1] = (units[-1][0] + num_tokens - document_end, [*units[-1][1], row])
        else:
            units.append((num_tokens, [row]))
    return units


def _document_of(prompt: Prompt) -> tuple[int, ...]:
    """Ids up to the document's end; () where that is not known."""
    return tuple(prompt.ids[: prompt.document_end])


def make_engine(model: DualModel, *, pad_id: int, end_id: int, kind: str = "auto") -> Engine:
    """An engine for a model.

    Args:
        model: The model.
        pad_id: A reserved id.
        end_id: Where an explanation ends.
        kind: auto: fast where it reads the architecture, else plain; plain.
    """
    if kind == "auto" and can_read(model.eval().language_model):
        return FastEngine(model, pad_id=pad_id, end_id=end_id)
    return PlainEngine(model, pad_id=pad_id, end_id=end_id)
