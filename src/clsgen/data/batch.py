"""Encoded rows and batches. B examples, L tokens, N supervised positions.

A training row is prompt + target without its last id; the logits that predict target k stand at position
len(prompt) - 1 + k, so the first one is the decision position itself. Positions come from lengths that are known
here, never from token ids.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from clsgen.data.template import Renderer
from clsgen.errors import DataError
from clsgen.types import Example, ExplanationMode

UNLABELLED = -100


class EncodedExample(NamedTuple):
    """One row as ids.

    prompt_ids: (P,), decision position last. target_ids: (T,), () without explanation. label: class index or
    UNLABELLED. num_cut_tokens: document tokens left out. mode: explanation mode drawn for the row. document_end: prompt
    ids up to the document's end; 0 where nobody asks.
    """

    id: str
    prompt_ids: list[int]
    target_ids: list[int]
    label: int
    num_cut_tokens: int
    mode: ExplanationMode
    document_end: int = 0

    @property
    def num_tokens(self) -> int:
        """Ids that the model reads: the last target is predicted, never read."""
        return len(self.prompt_ids) + max(0, len(self.target_ids) - 1)


def document_of(row: EncodedExample) -> tuple[int, ...]:
    """Ids up to the document's end."""
    return tuple(row.prompt_ids[: row.document_end])


class EncodedRows(NamedTuple):
    """rows: encoded examples. dropped: reason -> count of explanations or rows left out."""

    rows: list[EncodedExample]
    dropped: dict[str, int]


class Batch(NamedTuple):
    """Tensors of one forward, all long.

    input_ids_BL, attention_mask_BL, position_ids_BL: padded ids, 1 where real, 0-based positions.
    decision_B: column of the last prompt token. document_end_B: column after the document. labels_B: class index or
    UNLABELLED.
    target_row_N, target_column_N, target_N: where a supervised logit stands, and the id it must predict.
    """

    input_ids_BL: Tensor
    attention_mask_BL: Tensor
    position_ids_BL: Tensor
    decision_B: Tensor
    document_end_B: Tensor
    labels_B: Tensor
    target_row_N: Tensor
    target_column_N: Tensor
    target_N: Tensor


def draw_mode(example_id: str, *, free_share: float, seed: int) -> ExplanationMode:
    """The mode a row is trained in: a fixed draw from (seed, id), so that a resumed run repeats it."""
    digest = hashlib.sha256(f"{seed}:{example_id}".encode()).digest()
    return "free" if int.from_bytes(digest[:8]) / 2**64 < free_share else "decision"


def encode_examples(
    examples: Sequence[Example],
    renderer: Renderer,
    *,
    with_targets: bool,
    free_share: float = 1.0,
    seed: int = 0,
) -> EncodedRows:
    """Encode rows for training or monitoring.

    Args:
        examples: Rows; a label outside the template's labels is an error.
        renderer: The one rendering.
        with_targets: Whether explanations become targets.
        free_share: Share of rows in free mode.
        seed: Seed of the mode draw.

    Raises:
        DataError: An unknown label, or a question that leaves no room for the document.
    """
    index = {label: position for position, label in enumerate(renderer.template.labels)}
    renderer.check_questions(examples)
    rows, dropped = [], Counter[str]()
    for example in examples:
        if example.label is not None and example.label not in index:
            raise DataError(f"row {example.id}: label must be one of {list(index)}; got {example.label!r}.")
        mode = draw_mode(example.id, free_share=free_share, seed=seed)
        target: list[int] | None = []
        if with_targets and example.explanation:
            target = renderer.target(example.explanation, example.label, mode)
        if not target:
            if target is None:
                dropped["explanation_too_long"] += 1
            elif example.label is None:
                dropped["no_label_or_explanation"] += 1
            if example.label is None:  # nothing is left to learn from it
                continue
        prompt = renderer.prompt(example.document, example.question)
        target_ids = target or []
        label = UNLABELLED if example.label is None else index[example.label]
        rows.append(
            EncodedExample(example.id, prompt.ids, target_ids, label, prompt.num_cut_tokens, mode, prompt.document_end)
        )
    return EncodedRows(rows, dict(dropped))


def collate(rows: Sequence[EncodedExample], *, pad_id: int, multiple: int = 1) -> Batch:
    """Right-padded batch of training rows.

    Args:
        rows: B encoded rows, B >= 1.
        pad_id: Id of padding; never attended to.
        multiple: L is rounded up to a multiple of this.
    """
    length = -(-max(row.num_tokens for row in rows) // multiple) * multiple
    ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    target_row: list[int] = []
    target_column: list[int] = []
    target: list[int] = []
    for index, row in enumerate(rows):
        read = row.prompt_ids + row.target_ids[:-1]
        ids[index, : len(read)] = torch.tensor(read)
        mask[index, : len(read)] = 1
        first = len(row.prompt_ids) - 1
        target_row += [index] * len(row.target_ids)
        target_column += range(first, first + len(row.target_ids))
        target += row.target_ids
    return Batch(
        input_ids_BL=ids,
        attention_mask_BL=mask,
        position_ids_BL=(mask.cumsum(dim=1) - 1).clamp(min=0),
        decision_B=torch.tensor([len(row.prompt_ids) - 1 for row in rows]),
        document_end_B=torch.tensor([row.document_end for row in rows]),
        labels_B=torch.tensor([row.label for row in rows]),
        target_row_N=torch.tensor(target_row, dtype=torch.long),
        target_column_N=torch.tensor(target_column, dtype=torch.long),
        target_N=torch.tensor(target, dtype=torch.long),
    )


class LeftPadded(NamedTuple):
    """input_ids_BL, attention_mask_BL, position_ids_BL: prompts that all end in the last column."""

    input_ids_BL: Tensor
    attention_mask_BL: Tensor
    position_ids_BL: Tensor


def pad_left(prompts: Sequence[Sequence[int]], *, pad_id: int) -> LeftPadded:
    """Left-padded prompts for serving: every decision position stands in the last column.

    Args:
        prompts: B sequences of ids, none empty.
        pad_id: Id of padding; never attended to.
    """
    length = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), length), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, prompt in enumerate(prompts):
        ids[index, length - len(prompt) :] = torch.tensor(list(prompt))
        mask[index, length - len(prompt) :] = 1
    return LeftPadded(ids, mask, (mask.cumsum(dim=1) - 1).clamp(min=0))


def plan_batches(lengths: Sequence[int], *, batch_tokens: int) -> list[list[int]]:
    """Group rows of like length so that rows x longest stays within a token budget.

    Args:
        lengths: Tokens of each row, (n,).
        batch_tokens: Budget of a batch, padding included; a longer row stands alone.

    Returns:
        Lists of row indices, longest first, each row once. Derived from the lengths alone.

    >>> plan_batches([3, 9, 4, 9], batch_tokens=18)
    [[1, 3], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    longest = 0
    for index in order:
        if batches and (len(batches[-1]) + 1) * longest <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = lengths[index]
    return batches
