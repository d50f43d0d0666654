"""One stage of training: from weights alone to weights, with a log of bits per byte as it goes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from base.kernels import TokenLoss, loss_block
from base.optimizer import Masters

CROSSING_TOKENS = 1024
"""From this row length on, attention crosses documents: few are long enough to teach distant positions."""


POSITIONS = (512, 1024, 2048, 4096)
"""Ends of the bands of positions that the last figures are given for."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long a stage runs, and its learning rate.

    Attributes:
        num_tokens: Tokens of the stage.
        batch_tokens: Tokens an optimizer step.
        micro_tokens: Tokens a forward pass.
        lengths: (share of the stage, row length) pairs, in order.
        warmup_steps: Steps of linear warm-up.
        decay_share: Last share of the stage in which the rate falls linearly to `floor`.
        floor: Learning-rate factor at the end.
    """

    num_tokens: int
    batch_tokens: int
    micro_tokens: int
    lengths: tuple[tuple[float, int], ...]
    warmup_steps: int
    decay_share: float
    floor: float = 0.0

    @property
    def num_steps(self) -> int:
        """Optimizer steps."""
        return self.num_tokens // self.batch_tokens

    def factor(self, step: int) -> float:
        """Learning-rate factor of an optimizer step, counted from 0."""
        total = self.num_steps
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = (total - step) / max(1.0, total * self.decay_share)
        return min(warm, max(self.floor, min(1.0, left))) if self.decay_share else warm

    def length(self, step: int) -> int:
        """Row length at an optimizer step."""
        share = step * self.batch_tokens / self.num_tokens
        for bound, length in self.lengths:
            if share < bound:
                return length
        return self.lengths[-1][1]


@torch.no_grad()
def bits_per_byte(model: Any, documents: Sequence[tuple[Sequence[int], int]], *, end_id: int) -> float:
    """Bits that the model needs for a byte of text, each document alone after one end token.

    Args:
        model: A causal model.
        documents: (token ids, UTF-8 bytes) of each document.
        end_id: What stands before a document.
    """
    nats = num_bytes = 0.0
    for ids, size in documents:
        inputs = torch.tensor([[end_id, *ids]], device=model.device)
        hidden = model.model(input_ids=inputs, use_cache=False, document_BL=torch.zeros_like(inputs)).last_hidden_state[
            0, :-1
        ]
        logits = model.lm_head(hidden).float()
        nats += float(torch.nn.functional.cross_entropy(logits, inputs[0, 1:], reduction="sum"))
        num_bytes += size
    return nats / math.log(2) / num_bytes


@torch.no_grad()
def nats_by_position(
    model: Any, documents: Sequence[Sequence[int]], *, end_id: int, bounds: Sequence[int]
) -> dict[str, float]:
    """Nats a token in long rows of documents one after the other, by where the token stands: flat where far is as good.

    Args:
        model: A causal model.
        documents: Token ids of each document.
        end_id: What stands before a document.
        bounds: Ends of the bands; the last is the length of a row.
    """
    text = torch.tensor([token for ids in documents for token in (end_id, *ids)], device=model.device)
    num_rows = (len(text) - 1) // bounds[-1]
    total = torch.zeros(bounds[-1], dtype=torch.float64, device=model.device)
    for row in range(num_rows):
        block = text[row * bounds[-1] : (row + 1) * bounds[-1] + 1]
        inputs = block[None, :-1]
        hidden = model.model(input_ids=inputs, use_cache=False, document_BL=torch.zeros_like(inputs)).last_hidden_state
        logits = model.lm_head(hidden[0]).float()
        total += torch.nn.functional.cross_entropy(logits, block[1:], reduction="none")
    starts = [0, *bounds[:-1]]
    mean = total / num_rows
    return {
        f"{start} to {end}": round(float(mean[start:end].mean()), 3) for start, end in zip(starts, bounds, strict=True)
    }


def figures(model: Any, validation: Sequence[tuple[Sequence[int], int]], *, end_id: int) -> dict[str, Any]:
    """What a stage's end and the card say of a model: bits per byte, and nats a token by position."""
    documents = [ids for ids, _ in validation]
    return {
        "bits_per_byte": round(bits_per_byte(model, validation, end_id=end_id), 4),
        "nats_by_position": nats_by_position(model, documents, end_id=end_id, bounds=POSITIONS),
    }


class Stage:
    """Trains `model` (bfloat16) in place.

    Args:
        model: A causal model of the Llama kind with tied embeddings, attention set to kernels.ATTENTION.
        masters: Its optimizer.
        schedule: Tokens, lengths, learning rate.
        log: File that one JSON line is appended to at every measurement.
    """

    def __init__(self, model: Any, masters: Masters, schedule: Schedule, log: Path) -> None:
        self.model, self.masters, self.schedule, self._log = model, masters, schedule, log
        self.body = torch.compile(model.model, dynamic=False)
        self.loss_block = torch.compile(loss_block, dynamic=False)
        self.num_tokens = 0

    def backward(self, inputs_BL: Tensor, targets_BL: Tensor, weights_BL: Tensor, document_BL: Tensor) -> float:
        """Adds the gradients of the weighted sum of token losses; returns it."""
        hidden_BLD = self.body(input_ids=inputs_BL, use_cache=False, document_BL=document_BL).last_hidden_state
        width = hidden_BLD.shape[-1]
        loss: Tensor = TokenLoss.apply(  # type: ignore[no-untyped-call]
            hidden_BLD.reshape(-1, width),
            self.model.lm_head.weight,
            targets_BL.reshape(-1),
            weights_BL.reshape(-1),
            self.loss_block,
        )
        loss.backward()
        return float(loss.detach())

    def packed_step(self, block: np.ndarray, *, end_id: int, factor: float) -> float:
        """One optimizer step on packed rows, (B, L + 1); returns nats a token."""
        total = self.packed_backward(block, end_id=end_id, share=1.0)
        self.masters.step(factor)
        return total

    def packed_backward(self, block: np.ndarray, *, end_id: int, share: float) -> float:
        """Adds the gradients of packed rows, (B, L + 1), `share` of the step; returns nats a token."""
        rows = torch.from_numpy(block).to(self.model.device)
        per_micro = max(1, self.schedule.micro_tokens // (rows.shape[1] - 1))
        total = 0.0
        for start in range(0, len(rows), per_micro):
            part = rows[start : start + per_micro]
            inputs = part[:, :-1]
            weights = torch.full(inputs.shape, share / (rows.numel() - len(rows)), device=rows.device)
            is_alone = inputs.shape[1] < CROSSING_TOKENS
            document = (inputs == end_id).cumsum(1) if is_alone else torch.zeros_like(inputs)
            total += self.backward(inputs, part[:, 1:], weights, document)
        if not math.isfinite(total):
            raise FloatingPointError("the loss is not finite; lower the learning rate")
        self.num_tokens += rows.numel() - len(rows)
        return total / share

    def finish(self, num_steps: int, **values: Any) -> None:
        """The log's last line: `is_last` after every step of the schedule, `is_cut` after fewer."""
        is_last = num_steps == self.schedule.num_steps
        self.record(**values, **({"is_last": True} if is_last else {"is_cut": True}))

    def record(self, **values: Any) -> None:
        """Append a line to the log and print it."""
        line = json.dumps({"tokens": self.num_tokens, **values})
        with self._log.open("a") as handle:
            handle.write(line + "\n")
        print(line, flush=True)


def run_packed(
    stage: Stage,
    make_rows: Any,
    *,
    end_id: int,
    validation: Sequence[tuple[Sequence[int], int]],
    save: Any,
    every_seconds: float = 600.0,
    limit_seconds: float = math.inf,
) -> None:
    """Run a stage on packed rows, measuring and saving every so often and at its end.

    Where `limit_seconds` ends it early, the log's last line says `is_cut`, and the stage is not finished.
    """
    schedule = stage.schedule
    start = last = time.monotonic()
    losses: list[float] = []
    batches: Iterator[np.ndarray] | None = None
    length = 0
    for step in range(schedule.num_steps):
        if schedule.length(step) != length:
            length = schedule.length(step)
            batches = make_rows(length, schedule.batch_tokens // length, step)
        assert batches is not None
        losses.append(stage.packed_step(next(batches), end_id=end_id, factor=schedule.factor(step)))
        now = time.monotonic()
        if step % 50 == 49:
            rate = stage.num_tokens / (now - start)
            stage.record(step=step + 1, nats=round(float(np.mean(losses[-50:])), 4), tokens_a_second=round(rate))
        if now - last > every_seconds:
            save()
            figure = bits_per_byte(stage.model, validation[:60], end_id=end_id)
            stage.record(step=step + 1, bits_per_byte_of_60=round(figure, 4), minutes=round((now - start) / 60, 1))
            last = time.monotonic()
        if now - start > limit_seconds:
            break
    save()
    stage.finish(step + 1, **figures(stage.model, validation, end_id=end_id))
