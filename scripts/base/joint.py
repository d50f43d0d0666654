"""The last phase: rows with a decision and a reason, packed, beside replayed text.

Three losses: tokens of the reason, the prompt's own tokens at a lower weight, and a class loss at the decision
position through a head that is thrown away, so that a decision can be read there before any head is trained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from base.instruct import varied
from base.item import Item
from base.kernels import TokenLoss
from base.stage import Stage
from clsgen.data.template import Renderer, build_template

MAX_EXPLANATION_TOKENS = 160


class Row(NamedTuple):
    """ids: prompt and target. num_prompt: prompt tokens. allowed: rows of the head, the label's first."""

    ids: list[int]
    num_prompt: int
    allowed: list[int]


class Rows:
    """Renders items as clsgen renders them for training.

    Args:
        tokenizer: The base's tokenizer.
        labels: Every label string of any source; a row of the head each.
        length: Longest row.
    """

    def __init__(self, tokenizer: Any, labels: Sequence[str], length: int) -> None:
        self._tokenizer, self._length = tokenizer, length
        self._index = {label: index for index, label in enumerate(labels)}
        self._renderers: dict[tuple[str, tuple[str, ...]], Renderer] = {}

    def _renderer(self, item: Item) -> Renderer:
        key = (item.spec.instruction, item.spec.labels)
        if key not in self._renderers:
            template = build_template(
                self._tokenizer,
                item.spec,
                max_length_tokens=self._length,
                max_explanation_tokens=MAX_EXPLANATION_TOKENS,
            )
            self._renderers[key] = Renderer(template, self._tokenizer)
        return self._renderers[key]

    def row(self, item: Item, generator: np.random.Generator) -> Row:
        """One row: a wording, a reason and a mode are drawn."""
        item = varied(item, generator)
        renderer = self._renderer(item)
        prompt = renderer.prompt(item.document, item.question).ids
        target: list[int] | None = None
        if item.reasons:
            mode = "free" if generator.random() < 0.5 else "decision"
            target = renderer.target(str(generator.choice(item.reasons)), item.label, mode)  # type: ignore[arg-type]
        others = [self._index[label] for label in item.spec.labels if label != item.label]
        return Row(prompt + (target or []), len(prompt), [self._index[item.label], *others])


class Packed(NamedTuple):
    """A batch of packed rows.

    inputs, targets, weights, document: (B, L). decisions: (K, 2) row and column of decision positions.
    allowed: (K, C) rows of the head that a decision is between, the right one first; -1 is none.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor
    document: Tensor
    decisions: Tensor
    allowed: Tensor

    def to(self, device: torch.device) -> Packed:
        """The same batch there."""
        return Packed(*(part.to(device) for part in self))


def bins_of(rows: Sequence[Row], *, length: int) -> list[list[Row]]:
    """Rows put together so that each bin fits into `length` tokens: longest first, into the first bin with room."""
    bins: list[list[Row]] = []
    room: list[int] = []
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        place = next((index for index, left in enumerate(room) if left >= len(row.ids)), None)
        if place is None:
            bins.append([])
            room.append(length)
            place = len(bins) - 1
        bins[place].append(row)
        room[place] -= len(row.ids)
    return bins


def batch(bins: Sequence[Sequence[Row]], *, length: int, prompt_weight: float, pad_id: int) -> Packed:
    """Tensors of some bins; weights sum to 1 over reasons and to `prompt_weight` over prompts."""
    inputs = torch.full((len(bins), length), pad_id)
    targets = torch.zeros((len(bins), length), dtype=torch.long)
    kinds = torch.zeros((len(bins), length), dtype=torch.long)  # 1: prompt, 2: reason
    document = torch.full((len(bins), length), -1)
    decisions, allowed = [], []
    for number, rows in enumerate(bins):
        start = 0
        for index, row in enumerate(rows):
            end = start + len(row.ids)
            inputs[number, start:end] = torch.tensor(row.ids)
            targets[number, start : end - 1] = torch.tensor(row.ids[1:])
            decision = start + row.num_prompt - 1
            kinds[number, start : min(decision, end - 1)] = 1
            kinds[number, decision : end - 1] = 2
            document[number, start:end] = index
            decisions.append((number, decision))
            allowed.append(row.allowed)
            start = end
    widest = max(map(len, allowed))
    weights = torch.zeros((len(bins), length))
    for kind, weight in ((1, prompt_weight), (2, 1.0)):
        weights[kinds == kind] = weight / max(1, int((kinds == kind).sum()))
    table = torch.tensor([[*ids, *([-1] * (widest - len(ids)))] for ids in allowed])
    return Packed(inputs, targets, weights, document, torch.tensor(decisions), table)


class Head(nn.Module):
    """A row for every label of every task, starting at zero; a softmax over a task's own rows. Thrown away."""

    def __init__(self, width: int, num_labels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_labels, width))
        self._optimizer = torch.optim.Adam([self.weight])

    def step(self, factor: float) -> None:
        """One update; clears the gradient."""
        self._optimizer.param_groups[0]["lr"] = 2e-3 * factor
        self._optimizer.step()
        self._optimizer.zero_grad()

    def logits(self, hidden_KD: Tensor, allowed_KC: Tensor) -> Tensor:
        """(K, C), -inf where a task has fewer labels."""
        rows_KCD = self.weight[allowed_KC.clamp_min(0)]
        logits_KC = (hidden_KD.float()[:, None] * rows_KCD).sum(-1)
        return logits_KC.masked_fill(allowed_KC < 0, float("-inf"))


def backward(stage: Stage, head: Head, part: Packed, *, share: float) -> tuple[float, float]:
    """Adds the gradients of one micro-batch, `share` of the step; returns its token and class losses."""
    part = part.to(stage.model.device)
    hidden_BLD = stage.body(input_ids=part.inputs, use_cache=False, document_BL=part.document).last_hidden_state
    width = hidden_BLD.shape[-1]
    text: Tensor = TokenLoss.apply(  # type: ignore[no-untyped-call]
        hidden_BLD.reshape(-1, width),
        stage.model.lm_head.weight,
        part.targets.reshape(-1),
        part.weights.reshape(-1) * share,
        stage.loss_block,
    )
    chosen_KD = hidden_BLD[part.decisions[:, 0], part.decisions[:, 1]]
    wanted = torch.zeros(len(chosen_KD), dtype=torch.long, device=chosen_KD.device)
    decision = nn.functional.cross_entropy(head.logits(chosen_KD, part.allowed), wanted)
    (text + decision * share).backward()
    return float(text.detach()) / share, float(decision.detach())


@torch.no_grad()
def accuracies(
    stage: Stage, head: Head, watched: Mapping[str, Sequence[Row]], *, length: int, pad_id: int
) -> dict[str, float]:
    """Share of right decisions on watched rows, by source."""
    found = {}
    for source, rows in watched.items():
        bins = bins_of(rows, length=length)
        hits: list[bool] = []
        for start in range(0, len(bins), 8):
            part = batch(bins[start : start + 8], length=length, prompt_weight=0.0, pad_id=pad_id)
            part = part.to(stage.model.device)
            hidden_BLD = stage.model.model(
                input_ids=part.inputs, use_cache=False, document_BL=part.document
            ).last_hidden_state
            chosen_KD = hidden_BLD[part.decisions[:, 0], part.decisions[:, 1]]
            hits += (head.logits(chosen_KD, part.allowed).argmax(-1) == 0).tolist()
        found[source] = round(float(np.mean(hits)), 3)
    return found


def watched_apart(
    sources: Mapping[str, list[Item]], *, every: int
) -> tuple[dict[str, list[Item]], dict[str, list[Item]]]:
    """(train, watch): every n-th group of all sources together is watched."""
    groups = sorted({item.group for rows in sources.values() for item in rows})
    apart = set(groups[::every])
    return (
        {source: [item for item in rows if item.group not in apart] for source, rows in sources.items()},
        {source: [item for item in rows if item.group in apart][:200] for source, rows in sources.items()},
    )


def batches(
    items: Iterator[Item], rows: Rows, generator: np.random.Generator, *, num_bins: int, length: int
) -> Iterator[list[list[Row]]]:
    """Full bins without end, `num_bins` at a time, long and short rows mixed; rows left over wait for the next pool."""
    pool: list[Row] = []
    while True:
        while sum(len(row.ids) for row in pool) < 4 * num_bins * length:
            pool.append(rows.row(next(items), generator))
        bins = bins_of(pool, length=length)
        kept = [bins[index] for index in generator.permutation(min(4 * num_bins, len(bins)))]
        pool = [row for rows_of_bin in bins[4 * num_bins :] for row in rows_of_bin]
        for start in range(0, len(kept) - num_bins + 1, num_bins):
            yield kept[start : start + num_bins]


def epochs(
    sources: Mapping[str, list[Item]], weights: Mapping[str, float], generator: np.random.Generator
) -> Iterator[Item]:
    """Items without end, each source `weight` times a pass, in a new order each pass; without a weight, never."""
    by_source: dict[str, list[Item]] = defaultdict(list, {name: list(rows) for name, rows in sources.items()})
    while True:
        order: list[Item] = []
        for name, rows in by_source.items():
            whole, part = divmod(weights.get(name, 0.0), 1.0)
            order += rows * int(whole)
            order += [rows[index] for index in generator.permutation(len(rows))[: round(part * len(rows))]]
        for index in generator.permutation(len(order)):
            yield order[index]
