"""What a model makes of validation rows. B examples, C classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from clsgen.training.objective import Objective

LOSSES = ("class_loss", "explanation_loss")


class Read(NamedTuple):
    """totals and counts: of each loss over a batch of B rows. class_logits_BC: float32. labels_B: class indices."""

    totals: dict[str, float]
    counts: dict[str, int]
    class_logits_BC: Tensor
    labels_B: Tensor


def mean_losses(totals: Mapping[str, Sequence[float]], objective: Objective) -> dict[str, float]:
    """Means of the two losses, their weighted sum, and the perplexity of the explanations where there are any."""
    mean = {name: total / count for name, (total, count) in totals.items() if count}
    weights = {"class_loss": objective.class_loss_weight, "explanation_loss": objective.explanation_weight}
    loss = sum(weight * mean.get(name, 0.0) for name, weight in weights.items())
    if "explanation_loss" in mean:
        mean["perplexity"] = math.exp(min(mean["explanation_loss"], 700.0))
    return {"loss": loss, **mean}
