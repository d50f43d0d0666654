"""Muon for the layers' matrices, AdamW for embeddings and norms; float32 masters of a bfloat16 model."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from base.kernels import orthogonalized


class Masters:
    """Holds float32 copies of a bfloat16 model's weights and updates both.

    Args:
        model: The bfloat16 model.
        matrix_rate: Learning rate of the layers' matrices (Muon; AdamW where is_muon is False).
        other_rate: Learning rate of embeddings and norms (AdamW).
        decay: Decoupled weight decay, times the learning rate, of matrices and embeddings.
        is_muon: Whether matrices are updated by Muon.
    """

    def __init__(
        self, model: nn.Module, *, matrix_rate: float, other_rate: float, decay: float, is_muon: bool = True
    ) -> None:
        self._rates, self._decay = (matrix_rate, other_rate), decay
        groups: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
        others: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            if is_muon and parameter.ndim == 2 and ".layers." in name:
                groups[tuple(parameter.shape)].append(parameter)
            else:
                others.append(parameter)
        self._others = others
        self._groups = list(groups.values())
        self._masters = {id(p): p.detach().float().clone() for p in model.parameters()}
        zeros = {key: torch.zeros_like(master) for key, master in self._masters.items()}
        self._momenta = [torch.stack([zeros[id(p)] for p in group]) for group in self._groups]
        self._moments = [(zeros[id(p)], zeros[id(p)].clone()) for p in others]
        self._matrix_like = {id(p) for n, p in model.named_parameters() if ".layers." in n and p.ndim == 2}
        self._step = 0

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update at `factor` times the learning rates; clears the gradients."""
        self._step += 1
        momentum = min(0.95, 0.85 + 0.1 * self._step / 300)
        for group, buffer in zip(self._groups, self._momenta, strict=True):
            grad = torch.stack([p.grad.float() for p in group])  # type: ignore[union-attr]
            buffer.lerp_(grad, 1 - momentum)
            update = orthogonalized(grad.lerp(buffer, momentum)).float()
            rate = self._rates[0] * factor
            scale = max(1.0, update.shape[1] / update.shape[2]) ** 0.5
            for parameter, change in zip(group, update, strict=True):
                self._apply(parameter, change * scale, rate)
        for parameter, (first, second) in zip(self._others, self._moments, strict=True):
            grad = parameter.grad.float()  # type: ignore[union-attr]
            first.lerp_(grad, 0.1)
            second.lerp_(grad.square(), 0.05)
            change = first / (1 - 0.9**self._step) / ((second / (1 - 0.95**self._step)).sqrt() + 1e-10)
            rate = self._rates[0 if id(parameter) in self._matrix_like else 1] * factor
            self._apply(parameter, change, rate)

    def _apply(self, parameter: nn.Parameter, change: Tensor, rate: float) -> None:
        master = self._masters[id(parameter)]
        if parameter.ndim == 2:
            master.mul_(1 - rate * self._decay)
        master.sub_(change, alpha=rate)
        parameter.copy_(master)
        parameter.grad = None
