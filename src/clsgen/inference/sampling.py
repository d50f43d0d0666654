"""Draws next ids at a temperature, each row by a generator of its own. N rows, V vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clsgen.inference.engine import Pick


@dataclass(frozen=True, slots=True)
class Draw:
    """How one row is drawn.

    Attributes:
        temperature: 0 takes the most likely id.
        top_p: Share of the probability mass that is drawn from.
        seed: Of the row.
    """

    temperature: float
    top_p: float
    seed: int


class Sampler(Pick):
    """Draws ids. What a row draws depends on its own logits and seed, not on the rows beside it."""

    def __init__(self, draws: Sequence[Draw]) -> None:
        self._draws = list(draws)
        self._generators = [torch.Generator().manual_seed(draw.seed) for draw in draws]

    def __call__(self, logits_NV: Tensor, rows: Sequence[int]) -> list[int]:
        """One id a row, from its logits."""
        return [self._draw(logits_V, row) for logits_V, row in zip(logits_NV.float().cpu(), rows, strict=True)]

    def _draw(self, logits_V: Tensor, row: int) -> int:
        draw = self._draws[row]
        if draw.temperature == 0:
            return int(logits_V.argmax())
        probs_V = torch.softmax(logits_V / draw.temperature, dim=-1)
        sorted_V, order_V = probs_V.sort(descending=True)
        before_V = sorted_V.cumsum(0) - sorted_V  # mass of the likelier ids: the first one always stays
        kept_V = torch.where(before_V < draw.top_p, sorted_V, torch.zeros_like(sorted_V))
        chosen = torch.multinomial(kept_V, 1, generator=self._generators[row])
        return int(order_V[chosen])
