"""The class head. B examples, D hidden, C classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClassHead(nn.Module):
    """Linear(D, C, bias=False) in float32: linear on purpose, so that it folds into an output embedding.

    Weights start at zero: every class equally likely, and no seed to remember.
    """

    def __init__(self, hidden_size: int, num_labels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_labels, hidden_size, dtype=torch.float32))

    def forward(self, hidden_BD: Tensor) -> Tensor:
        """Class logits (B, C), float32 whatever the backbone's dtype or an autocast around it."""
        with torch.autocast(device_type=hidden_BD.device.type, enabled=False):
            return nn.functional.linear(hidden_BD.float(), self.weight)
