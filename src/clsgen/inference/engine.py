"""Token ids in, logits and ids out; knows no text. B examples, L tokens, C classes, D hidden, V vocabulary.

One prefill serves both heads: the class logits come from the last prompt token, and decoding goes on from the same
cache. Probability alone keeps no cache and never touches the vocabulary projection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


class Engine:
    """Reads prompts and writes explanations, greedily."""

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
        self, prefilled: Prefilled, forced: Sequence[Sequence[int]], *, max_new_tokens: int
    ) -> list[Generated]:
        """Write an explanation for each row of a prefill; its cache is used up.

        Args:
            prefilled: B rows.
            forced: Ids put after each prompt before the model writes, none empty.
            max_new_tokens: Ids written after the forced ones, the end token included.
        """
        written: list[list[int]] = [[] for _ in forced]
        ended = [False] * len(forced)
        for step in self.steps(prefilled, forced, max_new_tokens=max_new_tokens):
            for row, token in step.items():
                if token == self.end_id:
                    ended[row] = True
                else:
                    written[row].append(token)
        return [Generated(ids, has_ended) for ids, has_ended in zip(written, ended, strict=True)]

    def steps(
        self, prefilled: Prefilled, forced: Sequence[Sequence[int]], *, max_new_tokens: int
    ) -> Iterator[dict[int, int]]:
        """Decode step by step: row -> id just written, for rows still writing; the end id is yielded once."""
        rows = list(range(len(forced)))
        tokens: Sequence[Sequence[int]] = forced
        for step in range(max_new_tokens):
            prefilled, next_ids = self._advance(prefilled, tokens)
            yield dict(zip(rows, next_ids, strict=True))
            active = [index for index, token in enumerate(next_ids) if token != self.end_id]
            if not active or step + 1 == max_new_tokens:
                return
            if len(active) < len(rows):
                prefilled = prefilled.select(active)
                rows = [rows[index] for index in active]
            tokens = [[next_ids[index]] for index in active]

    @torch.inference_mode()
    def _advance(self, state: Prefilled, tokens: Sequence[Sequence[int]]) -> tuple[Prefilled, list[int]]:
        """Feed each row its ids, (B, any), and take the most likely next one."""
        chunk = pad_left(tokens, pad_id=self._pad_id, offsets=state.num_tokens)
        device = self.model.device
        mask_BL = torch.cat([state.attention_mask_BL, chunk.attention_mask_BL.to(device)], dim=1)
        hidden_BLD = self.model.hidden(
            chunk.input_ids_BL.to(device), mask_BL, chunk.position_ids_BL.to(device), state.cache
        )
        next_ids = self.model.vocabulary_logits(hidden_BLD[:, -1]).argmax(dim=-1).tolist()
        lengths = tuple(old + len(new) for old, new in zip(state.num_tokens, tokens, strict=True))
        return Prefilled(state.class_logits_BC, state.cache, mask_BL, lengths), next_ids

    def _read(self, prompts: Sequence[Sequence[int]], cache: Cache | None) -> tuple[Tensor, Tensor]:
        padded = pad_left(prompts, pad_id=self._pad_id)
        device = self.model.device
        mask_BL = padded.attention_mask_BL.to(device)
        hidden_BLD = self.model.hidden(
            padded.input_ids_BL.to(device), mask_BL, padded.position_ids_BL.to(device), cache
        )
        return hidden_BLD, mask_BL
