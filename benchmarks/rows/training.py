"""Training steps of clsgen: forward, backward and AdamW on one batch that does not change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from clsgen.data.batch import EncodedExample, collate
from clsgen.model import adapter, backbone
from clsgen.model.decoder import can_read
from clsgen.model.dual import DualModel
from clsgen.model.head import ClassHead
from clsgen.model.losses import class_loss

RANK, ALPHA = 16, 32.0


def rows_of(num_rows: int, num_prompt: int, num_target: int) -> list[EncodedExample]:
    """Rows that every side trains on: the same ids."""
    return [row_of(row, num_prompt, num_target, document_end=num_prompt - 64) for row in range(num_rows)]


def row_of(row: int, num_prompt: int, num_target: int, *, document_end: int) -> EncodedExample:
    """One of them."""
    prompt = [(7 * at + row) % 2900 + 50 for at in range(num_prompt)]
    target = [(11 * at + row) % 2900 + 50 for at in range(num_target)]
    return EncodedExample(str(row), prompt, target, row % 2, 0, "free", document_end)


def dual_model(model: str, starts_at: str | None = None) -> DualModel:
    """The model that is trained, read as a run on a processor reads it."""
    torch.manual_seed(0)
    base = backbone.load_backbone(model)
    adapted = adapter.add_lora(base, rank=RANK, alpha=ALPHA, dropout=0.0, targets=None)
    head = ClassHead(backbone.hidden_size(adapted), 2)
    dual = DualModel(adapted, head, tuning="lora" if starts_at is None else "activated", starts_at=starts_at)
    dual.is_packed = can_read(adapted)
    return dual


def joint_step(
    model: str, num_rows: int, num_prompt: int, num_target: int, starts_at: str | None = None
) -> Callable[[], Any]:
    """One step of both losses; `starts_at` makes the adapter an activated one."""
    dual = dual_model(model, starts_at).train()
    optimizer = torch.optim.AdamW([each for each in dual.parameters() if each.requires_grad], lr=1e-4)
    batch = collate(rows_of(num_rows, num_prompt, num_target), pad_id=0)._asdict()
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels_B"}

    def step() -> None:
        output = dual(**inputs)
        classes = class_loss(output.class_logits_BC, batch["labels_B"])
        tokens = output.token_loss
        (classes.total / classes.weight + tokens.total / tokens.weight).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
