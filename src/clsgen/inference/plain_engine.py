"""The reference engine: padded batches through the stock forward. B examples, L tokens, D hidden, V vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache

from clsgen.data.batch import LeftPadded, pad_left, plan_batches
from clsgen.data.template import Prompt
from clsgen.inference.engine import Engine, Generated, Part, Pick, Prefilled, Writer, asks, likeliest
from clsgen.model.adapter import adapter_off
from clsgen.model.backbone import new_cache

_MAX_ROWS = 8
"""Rows that write at a time."""


@dataclass(frozen=True, slots=True)
class Padded(Prefilled):
    """A batch padded on the left.

    Attributes:
        class_logits_BC: float32, on the CPU.
        num_tokens: Length of each prompt.
        cache: Keys and values of the prompts.
        attention_mask_BL: 1 where real.
    """

    class_logits_BC: Tensor
    num_tokens: tuple[int, ...]
    cache: Cache
    attention_mask_BL: Tensor

    def select(self, rows: Sequence[int]) -> Padded:
        """The same for some of the rows, in the order given; the cache is narrowed in place."""
        index = torch.tensor(list(rows), device=self.attention_mask_BL.device)
        if list(rows) != list(range(len(self.num_tokens))):
            self.cache.batch_select_indices(index)
        return Padded(
            self.class_logits_BC[list(rows)],
            tuple(self.num_tokens[row] for row in rows),
            self.cache,
            self.attention_mask_BL[index],
        )


class _Named(Pick):
    """Chooses for the rows of one part, which count from 0, by the keys that the caller knows them by."""

    def __init__(self, pick: Pick, keys: Sequence[int]) -> None:
        self._pick, self._keys = pick, keys

    def __call__(self, logits_NV: Tensor, rows: Sequence[int]) -> list[int]:
        """The next ids."""
        return self._pick(logits_NV, [self._keys[row] for row in rows])

    def forget(self, row: int) -> None:
        """A row has ended."""
        self._pick.forget(self._keys[row])


class PlainEngine(Engine):
    """Reads any architecture."""

    name = "plain"
    can_split = False

    def plan(self, prompts: Sequence[Prompt], *, batch_tokens: int) -> list[list[int]]:
        """Prompts of like length together, padding counted."""
        return plan_batches([len(prompt.ids) for prompt in prompts], batch_tokens=batch_tokens)

    @asks
    def class_logits(self, prompts: Sequence[Prompt]) -> Tensor:
        """Class logits (B, C) float32 on the CPU; generates nothing, keeps nothing."""
        hidden_BLD, _ = self._read(prompts, None)
        class_logits_BC: Tensor = self.model.head(hidden_BLD[:, -1])
        return class_logits_BC.cpu()

    @asks
    def prefill(self, prompts: Sequence[Prompt]) -> Padded:
        """Read prompts once, for both heads."""
        cache = new_cache(self.model.language_model)
        hidden_BLD, mask_BL = self._read(prompts, cache)
        lengths = tuple(len(prompt.ids) for prompt in prompts)
        return Padded(self.model.head(hidden_BLD[:, -1]).cpu(), lengths, cache, mask_BL)

    def writer(self, pick: Pick = likeliest) -> PlainWriter:
        """Rows that write one beside the other; see `Writer`."""
        return PlainWriter(self, pick)

    def write(self, parts: Iterable[Part], *, pick: Pick = likeliest) -> Iterator[tuple[int, Generated]]:
        """One part after another: batches padded to other lengths don't write together."""
        for part in parts:
            yield from zip(part.keys, self._written(part, pick), strict=True)

    @torch.inference_mode()
    def _written(self, part: Part, pick: Pick) -> list[Generated]:
        written: list[list[int]] = [[] for _ in part.keys]
        named = _Named(pick, part.keys)
        for step in self.steps(part.prefilled, part.forced, max_new_tokens=part.max_new_tokens, pick=named):
            for row, ids in step.items():
                written[row] += ids
        return [self.ended(ids) for ids in written]

    def steps(
        self,
        prefilled: Prefilled,
        forced: Sequence[Sequence[int]],
        *,
        max_new_tokens: Sequence[int],
        pick: Pick = likeliest,
    ) -> Iterator[dict[int, list[int]]]:
        """Decode step by step: row -> ids just written, for rows that wrote; the end id is given once, as the last.

        Forced ids of unequal length are fed one a step beyond their common length, so that no row ever holds padding
        after its prompt: a sliding window would count it.
        """
        assert isinstance(prefilled, Padded)
        state = prefilled
        common = min(len(ids) for ids in forced)
        tokens = [list(ids[:common]) for ids in forced]
        pending = {row: list(ids[common:]) for row, ids in enumerate(forced)}
        num_written = dict.fromkeys(pending, 0)
        while pending:
            state, logits_NV = self._advance(state, tokens)
            free = [index for index, row in enumerate(pending) if not pending[row]]
            rows = [row for row in pending if not pending[row]]
            written = dict(zip(rows, pick(logits_NV[free], rows), strict=True)) if rows else {}
            tokens = [[written[row]] if row in written else [pending[row].pop(0)] for row in pending]
            for row in written:
                num_written[row] += 1
            if written:
                yield {row: [token] for row, token in written.items()}
            done = {
                row for row, token in written.items() if token == self.end_id or num_written[row] == max_new_tokens[row]
            }
            for row in done:
                pick.forget(row)
            if done:
                kept = [index for index, row in enumerate(pending) if row not in done]
                pending = {row: ids for row, ids in pending.items() if row not in done}
                tokens = [tokens[index] for index in kept]
                if kept:
                    state = state.select(kept)

    @asks
    def _advance(self, state: Padded, tokens: Sequence[Sequence[int]]) -> tuple[Padded, Tensor]:
        """Feed each row its ids, (B, T); vocabulary logits (B, V) of what comes next."""
        device = self.model.device
        ids_BT = torch.tensor(tokens, device=device)
        num_new = ids_BT.shape[1]
        mask_BL = torch.cat([state.attention_mask_BL, torch.ones_like(ids_BT)], dim=1)
        first_B = torch.tensor(state.num_tokens, device=device)
        positions_BT = first_B[:, None] + torch.arange(num_new, device=device)
        hidden_BTD = self.model.hidden(ids_BT, mask_BL, positions_BT, state.cache)
        logits_BV = self.model.vocabulary_logits(hidden_BTD[:, -1])
        lengths = tuple(length + num_new for length in state.num_tokens)
        return Padded(state.class_logits_BC, lengths, state.cache, mask_BL), logits_BV

    def _read(self, prompts: Sequence[Prompt], cache: Cache | None) -> tuple[Tensor, Tensor]:
        """Hidden states that end at the decision positions, and the mask of what was read."""
        rows = [prompt.ids for prompt in prompts]
        if self.model.starts_at is None:
            padded = pad_left(rows, pad_id=self._pad_id)
            return self._hidden(padded, padded.position_ids_BL, padded.attention_mask_BL, cache)
        cache = new_cache(self.model.language_model) if cache is None else cache
        starts = self.model.starts_of([prompt.ids for prompt in prompts], [prompt.document_end for prompt in prompts])
        before = pad_left([row[:start] for row, start in zip(rows, starts, strict=True)], pad_id=self._pad_id)
        with adapter_off(self.model.language_model):
            _, mask_BL = self._hidden(before, before.position_ids_BL, before.attention_mask_BL, cache)
        rest = pad_left([row[start:] for row, start in zip(rows, starts, strict=True)], pad_id=self._pad_id)
        positions_BL = rest.position_ids_BL + torch.tensor(starts)[:, None]
        return self._hidden(rest, positions_BL, torch.cat([mask_BL.cpu(), rest.attention_mask_BL], dim=1), cache)

    def _hidden(
        self, padded: LeftPadded, positions_BL: Tensor, mask_BL: Tensor, cache: Cache | None
    ) -> tuple[Tensor, Tensor]:
        device = self.model.device
        mask_BL = mask_BL.to(device)
        hidden_BLD = self.model.hidden(padded.input_ids_BL.to(device), mask_BL, positions_BL.to(device), cache)
        return hidden_BLD, mask_BL


class PlainWriter(Writer):
    """Every row writes by itself, a step each in turn: batches padded to other lengths don't write together."""

    def __init__(self, engine: PlainEngine, pick: Pick) -> None:
        self._engine, self._pick = engine, pick
        self._rows: dict[int, Iterator[dict[int, list[int]]]] = {}
        self._left: dict[int, int] = {}

    @property
    def num_rows(self) -> int:
        """Rows that write."""
        return len(self._rows)

    @property
    def max_rows(self) -> int:
        """Rows that may write at a time."""
        return _MAX_ROWS

    def add(self, key: int, prefilled: Prefilled, forced: Sequence[int], *, max_new_tokens: int) -> None:
        """Let a row write; see `Writer`."""
        pick = _Named(self._pick, [key])
        self._rows[key] = self._engine.steps(prefilled, [forced], max_new_tokens=[max_new_tokens], pick=pick)
        self._left[key] = max_new_tokens

    def drop(self, key: int) -> None:
        """Free the place of a row that need not end."""
        if self._rows.pop(key, None) is not None:
            self._pick.forget(key)

    @torch.inference_mode()
    def step(self) -> dict[int, list[int]]:
        """Key -> ids just written; see `Writer`."""
        found = {key: next(steps)[0] for key, steps in self._rows.items()}
        for key, ids in found.items():
            self._left[key] -= len(ids)
            if ids[-1] == self._engine.end_id or not self._left[key]:
                self.drop(key)
        return found
