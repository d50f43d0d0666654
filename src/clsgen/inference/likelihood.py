"""How likely a model finds given texts: the log-likelihood of targets after their prompts. B examples, N targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from clsgen.data.batch import EncodedExample, collate, plan_batches
from clsgen.model.dual import DualModel

BATCH_TOKENS = 8192


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
