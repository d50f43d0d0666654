"""How likely a model finds given texts: the log-likelihood of targets after their prompts. B examples, N targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from clsgen.data.batch import UNLABELLED, EncodedExample, collate, plan_batches
from clsgen.data.template import Prompt
from clsgen.model.backbone import vocabulary_size
from clsgen.model.decoder import Decoder, Kept, can_read
from clsgen.model.dual import DualModel

BATCH_TOKENS = 8192
_MAX_LOGITS = 2**24
"""Vocabulary logits that are held at a time."""


@torch.inference_mode()
def log_likelihoods(model: DualModel, rows: Sequence[EncodedExample], *, pad_id: int) -> list[float]:
    """Sum of the log-probabilities of each row's target ids after its prompt, in nats; the end id counts like any.

    Args:
        model: In evaluation mode.
        rows: Prompts with targets, none empty; labels are not read.
        pad_id: Padding.
    """
    found = [0.0] * len(rows)
    for plan in plan_batches([row.num_tokens for row in rows], batch_tokens=BATCH_TOKENS):
        batch = collate([rows[index] for index in plan], pad_id=pad_id)
        inputs = {name: tensor.to(model.device) for name, tensor in batch._asdict().items()}
        output = model(**{name: tensor for name, tensor in inputs.items() if name not in ("labels_B", "target_N")})
        logits_NV: Tensor = output.token_logits_NV
        targets_N = inputs["target_N"]
        log_probs_N = logits_NV.gather(1, targets_N[:, None])[:, 0] - logits_NV.logsumexp(1)
        sums_B = torch.zeros(len(plan), dtype=torch.float64, device=log_probs_N.device)
        sums_B.index_add_(0, inputs["target_row_N"], log_probs_N.double())
        for index, value in zip(plan, sums_B.tolist(), strict=True):
            found[index] = value
    return found


def perplexity(model: DualModel, rows: Sequence[EncodedExample], *, pad_id: int) -> float:
    """Perplexity: exp of the mean negative log-likelihood of a target id; NaN where no row has a target."""
    explained = [row for row in rows if row.target_ids]
    if not explained:
        return float("nan")
    total = sum(log_likelihoods(model, explained, pad_id=pad_id))
    return float(np.exp(-total / sum(len(row.target_ids) for row in explained)))


@torch.inference_mode()
def answer_likelihoods(
    model: DualModel, prompts: Sequence[Prompt], answers: Sequence[Sequence[Sequence[int]]], *, pad_id: int
) -> list[list[float]]:
    """Log-likelihood of each of several answers to each prompt, in nats.

    What all prompts begin with is read once, and so are each prompt and what its answers begin with, where `Decoder`
    can read the model; else every answer is read with its prompt.

    Args:
        model: In evaluation mode.
        prompts: Prompts, the answer's place last.
        answers: Of each prompt, ids that could follow it, end id last.
        pad_id: Padding.
    """
    if model.starts_at is not None or not can_read(model.language_model):
        rows = [
            EncodedExample("", prompt.ids, list(ids), UNLABELLED, 0, "free", prompt.document_end)
            for prompt, each in zip(prompts, answers, strict=True)
            for ids in each
        ]
        values = iter(log_likelihoods(model, rows, pad_id=pad_id))
        return [[next(values) for _ in each] for each in answers]
    decoder = Decoder(model.language_model)
    shared = _common([prompt.ids for prompt in prompts])
    known = decoder.read([shared], keeps=True)[1][0] if shared else None
    found: dict[int, list[float]] = {}
    lengths = [
        len(prompt.ids) - len(shared) + max(map(len, each)) for prompt, each in zip(prompts, answers, strict=True)
    ]
    for plan in plan_batches(lengths, batch_tokens=BATCH_TOKENS):
        rests = [prompts[number].ids[len(shared) :] for number in plan]
        sums = _answered(model, decoder, known, rests, [answers[number] for number in plan])
        found.update(zip(plan, sums, strict=True))
    return [found[number] for number in range(len(prompts))]


def _answered(
    model: DualModel,
    decoder: Decoder,
    known: Kept | None,
    rests: Sequence[list[int]],
    answers: Sequence[Sequence[Sequence[int]]],
) -> list[list[float]]:
    """Of each prompt, what goes on from `known`, the log-likelihoods of its answers."""
    begun = [_common(each) for each in answers]  # is read with the prompt: a reason, say, that every answer holds
    hidden_TD, kept = decoder.read(
        [[*rest, *common] for rest, common in zip(rests, begun, strict=True)],
        keeps=True,
        after=[known] * len(rests),
        num_wanted=[len(common) + 1 for common in begun],
    )
    parts = torch.split(hidden_TD, [len(common) + 1 for common in begun])
    sums = _sums(model, [part_tD[:-1] for part_tD in parts], begun)
    tails = [(number, ids[len(begun[number]) :]) for number, each in enumerate(answers) for ids in each]
    firsts = _sums(model, [parts[number][-1:] for number, _ in tails], [tail[:1] for _, tail in tails])
    values = [sums[number] + first for (number, _), first in zip(tails, firsts, strict=True)]
    longer = [place for place, (_, tail) in enumerate(tails) if len(tail) > 1]
    if longer:
        rows = [tails[place][1][:-1] for place in longer]
        after = [_joined(known, kept[tails[place][0]]) for place in longer]
        lengths = [len(row) for row in rows]
        more_TD, _ = decoder.read(rows, keeps=False, after=after, num_wanted=lengths)
        others = _sums(model, torch.split(more_TD, lengths), [tails[place][1][1:] for place in longer])
        for place, other in zip(longer, others, strict=True):
            values[place] += other
    following = iter(values)
    return [[next(following) for _ in each] for each in answers]


def _sums(model: DualModel, hidden: Sequence[Tensor], ids: Sequence[Sequence[int]]) -> list[float]:
    """Of each piece, hidden states (t, D) and the ids that come next, the sum of the ids' log-probabilities."""
    hidden_TD, ids_T = torch.cat(list(hidden)), torch.tensor([id_ for each in ids for id_ in each], dtype=torch.long)
    size = max(1, _MAX_LOGITS // vocabulary_size(model.language_model))
    found = [torch.zeros(0, dtype=torch.float64)]
    for part_tD, part_t in zip(
        torch.split(hidden_TD, size), torch.split(ids_T.to(hidden_TD.device), size), strict=True
    ):
        if len(part_t):
            logits_tV = model.vocabulary_logits(part_tD)
            found.append((logits_tV.gather(1, part_t[:, None])[:, 0] - logits_tV.logsumexp(1)).double().cpu())
    return [float(piece_t.sum()) for piece_t in torch.split(torch.cat(found), [len(each) for each in ids])]


def _common(rows: Sequence[Sequence[int]]) -> list[int]:
    """The ids that all rows begin with, short of the shortest row by one at least."""
    longest = min(map(len, rows)) - 1
    differing = (at for at, ids in enumerate(zip(*rows, strict=False)) if len(set(ids)) > 1)
    return list(rows[0][: min(longest, next(differing, longest))])


def _joined(known: Kept | None, own: Kept) -> Kept:
    if known is None:
        return own
    return Kept(
        tuple(
            (torch.cat([before[0], after[0]]), torch.cat([before[1], after[1]]))
            for before, after in zip(known.layers, own.layers, strict=True)
        )
    )
