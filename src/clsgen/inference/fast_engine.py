"""The fast engine: rows without padding, and rows that end make room for others. T tokens, D hidden, V vocabulary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set

from torch import Tensor

from clsgen.data.template import Prompt
from clsgen.errors import ConfigError
from clsgen.inference.engine import Engine, Generated, Part, Pick, asks, likeliest
from clsgen.inference.fast_writer import FastWriter, Packed
from clsgen.inference.plain_engine import PlainEngine
from clsgen.model.decoder import Decoder, Kept, can_read
from clsgen.model.dual import DualModel


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
    can_split = True
    memory: dict[tuple[int, ...], Kept] | None = None

    def __init__(self, model: DualModel, *, pad_id: int, end_id: int, has_lookup: bool = True) -> None:
        super().__init__(model, pad_id=pad_id, end_id=end_id)
        self._decoder = Decoder(model.language_model)
        self._has_lookup = has_lookup

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

    @asks
    def class_logits(self, prompts: Sequence[Prompt]) -> Tensor:
        """Class logits (B, C) float32 on the CPU; generates nothing, keeps nothing."""
        hidden_BD, _ = self._read(prompts, keeps=False)
        class_logits_BC: Tensor = self.model.head(hidden_BD)
        return class_logits_BC.cpu()

    @asks
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
        known = {row: kept for row in rows if (kept := memory.get(row)) is not None}
        new = self.model.read_before(rows - known.keys())
        memory.update(new)
        return known | new  # and not the memory, which another thread may empty meanwhile

    def writer(self, pick: Pick = likeliest) -> FastWriter:
        """Rows that write together; see `Writer`."""
        return FastWriter(self.model, self._decoder, end_id=self.end_id, pick=pick, has_lookup=self._has_lookup)

    def write(self, parts: Iterable[Part], *, pick: Pick = likeliest) -> Iterator[tuple[int, Generated]]:
        """Rows that end make room for others; the next part is read when the rows at hand are too few."""
        waiting = ((part, at) for part in parts for at in range(len(part.keys)))
        writer = self.writer(pick)
        written: dict[int, list[int]] = {}
        room: dict[int, int] = {}
        while True:
            while writer.has_room and (row := next(waiting, None)) is not None:
                part, at = row
                key = part.keys[at]
                written[key], room[key] = [], part.max_new_tokens[at]
                writer.add(key, part.prefilled.select([at]), part.forced[at], max_new_tokens=room[key])
            if not writer.num_rows:
                return
            for key, ids in writer.step().items():
                written[key] += ids
                if ids[-1] == self.end_id or len(written[key]) == room[key]:
                    yield key, self.ended(written.pop(key))


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

    Raises:
        ConfigError: Another kind.
    """
    if kind not in ("auto", "plain"):
        raise ConfigError(f"engine must be auto or plain; got {kind!r}. auto takes the fast one wherever it can.")
    if kind == "auto" and can_read(model.eval().language_model):
        return FastEngine(model, pad_id=pad_id, end_id=end_id)
    return PlainEngine(model, pad_id=pad_id, end_id=end_id)
