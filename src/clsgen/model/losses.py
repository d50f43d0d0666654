"""The terms of the training objective as (sum, weight): divided once, after the reduce over micro-batches and ranks.

Shapes: B examples, C classes, N supervised token positions of the batch, V vocabulary. Logits of any floating type
are cast to float32 before the softmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clsgen.errors import ConfigError

UNLABELLED = -100
"""Label index of a row that counts in the explanation loss only."""


class LossSum(NamedTuple):
    """A loss before its division.

    Attributes:
        total: Sum over the counted rows or tokens, 0-d float32, differentiable; exactly 0 where nothing is counted.
        weight: How many rows or tokens were counted, 0-d int64 on the same device. The mean is `total / weight`
            with both summed over the whole optimizer step; a zero weight means a zero term.
    """

    total: Tensor
    weight: Tensor


def class_loss(
    logits_BC: Tensor, labels_B: Tensor, *, class_weights_C: Tensor | None = None, label_smoothing: float = 0.0
) -> LossSum:
    """Cross-entropy of the class head, with class weights that leave the logits on the natural prior.

    A row of class y costs w_y * CE(softmax(z + log w), y). Its expectation at a text x is least where
    softmax(z + log w) is proportional to w_c p(c|x), that is at softmax(z) = p(c|x): the weights change how much
    each class pulls, not what the logits mean (logit adjustment, Menon et al. 2021, arXiv 2007.07314). Label
    smoothing spreads the target first and weighs it after, so the logits then mean the smoothed p(c|x).

    A common factor of the weights cancels inside the softmax and scales the loss; see `normalise_weights` for the
    one scale that training uses. The weight returned counts rows, whatever their class.

    Args:
        logits_BC: Class logits z.
        labels_B: Class indices, int64; `UNLABELLED` (-100) rows are left out.
        class_weights_C: Positive weights w in the order of the classes; None: all 1.
        label_smoothing: Share of each target spread evenly over the classes, in [0, 1).

    Returns:
        Sum over labelled rows, and their number.

    Example:
        >>> loss = class_loss(torch.zeros(3, 2), torch.tensor([0, 1, -100]))
        >>> round(loss.total.item(), 4), loss.weight.item()  # 2 ln 2
        (1.3863, 2)
    """
    logits_BC = logits_BC.float()
    if class_weights_C is not None:
        class_weights_C = class_weights_C.to(logits_BC)
        logits_BC = logits_BC + class_weights_C.log()
    total = F.cross_entropy(
        logits_BC,
        labels_B,
        weight=class_weights_C,
        ignore_index=UNLABELLED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    return LossSum(total, (labels_B != UNLABELLED).sum())


def class_loss_by_question(
    logits_BC: Tensor,
    labels_B: Tensor,
    spans: Sequence[tuple[int, int]],
    *,
    class_weights_C: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> LossSum:
    """The class loss of a head that answers several questions, each by a softmax over its own columns.

    Args:
        logits_BC: Class logits, the questions' columns side by side.
        labels_B: Column of each row's label, which says what the row was asked; `UNLABELLED` rows are left out.
        spans: First column and the one after the last of each question.
        class_weights_C: As for `class_loss`; of each question for itself.
        label_smoothing: As for `class_loss`.

    Returns:
        Sum over labelled rows of all questions, and their number.

    Example:
        >>> loss = class_loss_by_question(torch.zeros(2, 5), torch.tensor([1, 4]), [(0, 2), (2, 5)])
        >>> round(loss.total.item(), 4), loss.weight.item()  # ln 2 + ln 3
        (1.7918, 2)
    """
    parts = []
    for start, end in spans:
        is_own_B = (labels_B >= start) & (labels_B < end)
        weights = None if class_weights_C is None else class_weights_C[start:end]
        own_B = torch.where(is_own_B, labels_B - start, UNLABELLED)
        parts.append(
            class_loss(logits_BC[:, start:end], own_B, class_weights_C=weights, label_smoothing=label_smoothing)
        )
    return LossSum(torch.stack([part.total for part in parts]).sum(), (labels_B != UNLABELLED).sum())


def token_loss(logits_NV: Tensor, targets_N: Tensor) -> LossSum:
    """Cross-entropy of the explanation tokens; every row given is supervised.

    Args:
        logits_NV: Vocabulary logits at the positions that precede the targets.
        targets_N: Token ids, int64.

    Returns:
        Sum over positions in nats, and their number.

    Example:
        >>> loss = token_loss(torch.zeros(2, 4), torch.tensor([3, 0]))
        >>> round(loss.total.item(), 4), loss.weight.item()  # 2 ln 4
        (2.7726, 2)
    """
    total = F.cross_entropy(logits_NV.float(), targets_N, reduction="sum")
    return LossSum(total, _count(targets_N))


def kl_to_base(base_logits_NV: Tensor, logits_NV: Tensor) -> LossSum:
    """KL(base || model) at the explanation positions: how far the tuned model has moved from its base.

    Args:
        base_logits_NV: Vocabulary logits of the frozen base model; no gradient flows into them.
        logits_NV: Vocabulary logits of the model in training, at the same positions.

    Returns:
        Sum over positions in nats, and their number.

    Example:
        >>> base, model = torch.zeros(1, 2), torch.tensor([[0.0, 1.0986123]])  # (1/2, 1/2) and (1/4, 3/4)
        >>> round(kl_to_base(base, model).total.item(), 4)  # 1/2 ln(1/2 / 1/4) + 1/2 ln(1/2 / 3/4)
        0.1438
    """
    base_logprobs_NV = F.log_softmax(base_logits_NV.detach().float(), dim=-1)
    logprobs_NV = F.log_softmax(logits_NV.float(), dim=-1)
    total = F.kl_div(logprobs_NV, base_logprobs_NV, reduction="sum", log_target=True)
    return LossSum(total, _count(logits_NV))


def normalise_weights(weights: Sequence[float], counts: Sequence[int]) -> tuple[float, ...]:
    """Class weights scaled so that the average training row weighs 1.

    Scaled by the whole training set, not by the batch, so a row costs the same in any batch; and so that weighing
    the classes does not shift the balance between the class loss and the explanation loss.

    Args:
        weights: A positive weight a class.
        counts: Labelled training rows a class; not all 0.

    Returns:
        Weights w with sum(w_c n_c) = sum(n_c).

    Raises:
        ConfigError: Weights that are not positive and finite, or not as many as there are classes.

    Example:
        >>> normalise_weights((1, 9), (90, 10))  # (90 * 1 + 10 * 9) / 100 = 1.8
        (0.5555555555555556, 5.0)
    """
    weights_C = torch.tensor(weights, dtype=torch.float64)
    counts_C = torch.tensor(counts, dtype=torch.float64)
    is_valid = weights_C.isfinite() & (weights_C > 0)
    if len(weights) != len(counts) or not is_valid.all():
        raise ConfigError(
            f"train: class_weights must be {len(counts)} positive numbers, one a label in the order of the labels; "
            f"got {tuple(weights)!r}. Give a weight for each, or use balanced."
        )
    if not counts_C.sum() > 0:
        raise ConfigError(
            f"train: class_weights must be set on labelled training rows; got class counts {tuple(counts)!r}. "
            "Label some rows, or set class_weights to none."
        )
    scaled_C = weights_C * (counts_C.sum() / (weights_C * counts_C).sum())
    return tuple(scaled_C.tolist())


def balanced_weights(counts: Sequence[int]) -> tuple[float, ...]:
    """Weights under which every class weighs the same in sum: n / (C * n_c), as scikit-learn's "balanced".

    Args:
        counts: Labelled training rows a class, each above 0.

    Returns:
        A weight a class; the average training row weighs 1.

    Raises:
        ConfigError: A class without training rows.

    Example:
        >>> balanced_weights((90, 10))
        (0.5555555555555556, 5.0)
    """
    if min(counts) < 1:
        raise ConfigError(
            f"train: class_weights must be set with a training row of every class; got class counts {tuple(counts)!r}. "
            "Add rows of the missing class, or remove its label."
        )
    return normalise_weights([1 / count for count in counts], counts)


def _count(rows: Tensor) -> Tensor:
    """Number of rows as a 0-d int64 tensor on their device."""
    return torch.tensor(rows.shape[0], device=rows.device)
