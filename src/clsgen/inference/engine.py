"""Token ids in, logits and ids out; knows no text. B examples, L tokens, C classes, D hidden, V vocabulary.

One prefill serves both heads: the class logits come from the last prompt token, and decoding goes on from the same
cache. Probability alone keeps no cache and never touches the vocabulary projection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import Cache

from clsgen.data.batch import pad_left
from clsgen.model.backbone import new_cache
from clsgen.model.dual import DualModel


class Prefilled(NamedTuple):
    """What one reading of B prompts leaves behind.

    class_logits_BC: float32. cache: keys and values of the prompts. attention_mask_BL: 1 where real.
    num_tokens: length of each prompt.
    """

    class_logits_BC: Tensor
    cache: Cache
    attention_mask_BL: Tensor
    num_tokens: tuple[int, ...]

    def select(self, rows: Sequence[int]) -> Prefilled:
        """The same for some of the rows, in the order given; the cache is narrowed in place."""
        index = torch.tensor(list(rows), device=self.attention_mask_BL.device)
        if list(rows) != list(range(len(self.num_tokens))):
            self.cache.batch_select_indices(index)
        return Prefilled(
            self.class_logits_BC[list(rows)],
            self.cache,
            self.attention_mask_BL[index],
            tuple(self.num_tokens[row] for row in rows),
        )


class Generated(NamedTuple):
    """ids: what was written after the forced ids, end token left out. has_ended: whether it ended by itself."""

    ids: list[int]
    has_ended: bool


Pick = Callable[[Tensor, Sequence[int]], list[int]]
"""Chooses the next ids: from vocabulary logits (N, V) and the N rows that they belong to."""


def likeliest(logits_NV: Tensor, rows: Sequence[int]) -> list[int]:
    """The most likely id of each row."""
    found: list[int] = logits_NV.argmax(dim=-1).tolist()
    return found


class Engine:
    """Reads prompts and writes explanations."""

    def __init__(self, model: DualModel, *, pad_id: int, end_id: int) -> None:
        self.model = model.eval()
        self.end_id = end_id
        self._pad_id = pad_id

    @torch.inference_mode()
    def class_logits(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Class logits (B, C) float32 on the CPU; generates nothing, keeps nothing."""
        hidden_BLD, _ = self._read(prompts, None)
        class_logits_BC: Tensor = self.model.head(hidden_BLD[:, -1])
        return class_logits_BC.cpu()

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]]) -> Prefilled:
        """Read prompts once, for both heads."""
        cache = new_cache(self.model.language_model)
        hidden_BLD, mask_BL = self._read(prompts, cache)
        return Prefilled(
            self.model.head(hidden_BLD[:, -1]).cpu(), cache, mask_BL, tuple(len(prompt) for prompt in prompts)
        )

    def generate(
        self, prefilled: Prefilled, forced: Sequence[Sequence[int]], *, max_new_tokens: int, pick: Pick = likeliest
    ) -> list[Generated]:
        """Write an explanation for each row of a prefill; its cache is used up.

        Args:
            prefilled: B rows.
            forced: Ids put after each prompt before the model writes, none empty.
            max_new_tokens: Ids written after the forced ones, the end token included.
            pick: Chooses among the next ids.
        """
        written: list[list[int]] = [[] for _ in forced]
        ended = [False] * len(forced)
        for step in self.steps(prefilled, forced, max_new_tokens=max_new_tokens, pick=pick):
            for row, token in step.items():
                if token == self.end_id:
                    ended[row] = True
                else:
                    written[row].append(token)
        return [Generated(ids, has_ended) for ids, has_ended in zip(written, ended, strict=True)]

    def steps(
        self, prefilled: Prefilled, forced: Sequence[Sequence[int]], *, max_new_tokens: int, pick: Pick = likeliest
    ) -> Iterator[dict[int, int]]:
        """Decode step by step: row -> id just written, for rows still writing; the end id is given once.

        Forced ids of unequal length are fed one a step beyond their common length, so that no row ever holds padding
        after its prompt: a sliding window would count it.
        """
        common = min(len(ids) for ids in forced)
        tokens = [list(ids[:common]) for ids in forced]
        pending = {row: list(ids[common:]) for row, ids in enumerate(forced)}
        num_written = dict.fromkeys(pending, 0)
        while pending:
            prefilled, logits_NV = self._advance(prefilled, tokens)
            free = [index for index, row in enumerate(pending) if not pending[row]]
            rows = [row for row in pending if not pending[row]]
            written = dict(zip(rows, pick(logits_NV[free], rows), strict=True)) if rows else {}
            tokens = [[written[row]] if row in written else [pending[row].pop(0)] for row in pending]
            for row in written:
                num_written[row] += 1
            if written:
                yield written
            done = {row for row, token in written.items() if token == self.end_id or num_written[row] == max_new_tokens}
            if done:
                kept = [index for index, row in enumerate(pending) if row not in done]
                pending = {row: ids for row, ids in pending.items() if row not in done}
                tokens = [tokens[index] for index in kept]
                if kept:
                    prefilled = prefilled.select(kept)

    @torch.inference_mode()
    def _advance(self, state: Prefilled, tokens: Sequence[Sequence[int]]) -> tuple[Prefilled, Tensor]:
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
        return Prefilled(state.class_logits_BC, state.cache, mask_BL, lengths), logits_BV

    def _read(self, prompts: Sequence[Sequence[int]], cache: Cache | None) -> tuple[Tensor, Tensor]:
        padded = pad_left(prompts, pad_id=self._pad_id)
        device = self.model.device
        mask_BL = padded.attention_mask_BL.to(device)
        hidden_BLD = self.model.hidden(
            padded.input_ids_BL.to(device), mask_BL, padded.position_ids_BL.to(device), cache
        )
        return hidden_BLD, mask_BL
