"""The three places where a processor without a GPU loses its time, written for it: attention, loss, Muon's step.

On two cores with bfloat16 units the stock kernels reach a quarter of the matrix speed; these reach two thirds.
Shape legend: B rows, L tokens, H heads, G key heads, D head width, N positions, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

ATTENTION = "blocked_causal"
_QUERY_BLOCK = 256
_LOSS_BLOCK = 512


def blocked_causal(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    """Causal attention within documents as batched matrix products, a block of queries at a time.

    Args:
        module: The attention layer.
        query: (B, H, L, D).
        key: (B, G, L, D).
        value: (B, G, L, D).
        attention_mask: Ignored: causal by construction.
        kwargs: `scaling`, and `document_BL` (B, L): the number of the document that a position belongs to.
    """
    batch, heads, length, width = query.shape
    groups = key.shape[1]
    document_BL = kwargs["document_BL"]
    query = (query * kwargs["scaling"]).view(batch, groups, heads // groups, length, width)
    key, value = key.reshape(batch * groups, length, width), value.reshape(batch * groups, length, width)
    outputs = []
    for start in range(0, length, _QUERY_BLOCK):
        end = min(start + _QUERY_BLOCK, length)
        block = query[:, :, :, start:end].reshape(batch * groups, -1, width)
        scores = torch.bmm(block, key[:, :end].transpose(1, 2)).view(batch, heads, end - start, end).float()
        place = torch.arange(end, device=query.device)
        is_seen = place[start:, None] >= place[None]
        is_seen = is_seen & (document_BL[:, start:end, None] == document_BL[:, None, :end])
        probs = scores.masked_fill(~is_seen[:, None], float("-inf")).softmax(-1).to(value.dtype)
        output = torch.bmm(probs.view(batch * groups, -1, end), value[:, :end])
        outputs.append(output.view(batch, heads, end - start, width))
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, blocked_causal)


def loss_block(logits_NV: Tensor, targets_N: Tensor, scale_N: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sum of cross-entropies of some positions, and its gradient by their logits; worth compiling."""
    logits_NV = logits_NV.float()
    top_N1 = logits_NV.amax(-1, keepdim=True)
    exp_NV = (logits_NV - top_N1).exp()
    sum_N1 = exp_NV.sum(-1, keepdim=True)
    losses_N = (top_N1 + sum_N1.log() - logits_NV.gather(1, targets_N[:, None]))[:, 0] * scale_N
    is_target_NV = torch.arange(logits_NV.shape[1], device=logits_NV.device)[None] == targets_N[:, None]
    grad_NV = (exp_NV / sum_N1 - is_target_NV.float()) * scale_N[:, None]
    return losses_N.sum(), grad_NV.bfloat16()


class TokenLoss(torch.autograd.Function):
    """Sum of weight * cross-entropy through the output matrix, its gradient formed in the forward pass by blocks."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, output_VD: Tensor, targets_N: Tensor, weights_N: Tensor, block: Any
    ) -> Tensor:
        """Hidden (N, D) and output (V, D) in bfloat16, targets and weights (N,): the loss, a scalar."""
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_output_VD = torch.zeros_like(output_VD, dtype=torch.float32)
        total = torch.zeros((), device=hidden_ND.device)
        for start in range(0, len(hidden_ND), _LOSS_BLOCK):
            part = slice(start, start + _LOSS_BLOCK)
            loss, grad_NV = block(hidden_ND[part] @ output_VD.t(), targets_N[part], weights_N[part])
            total = total + loss
            grad_hidden_ND[part] = grad_NV @ output_VD
            grad_output_VD += grad_NV.t() @ hidden_ND[part]
        ctx.save_for_backward(grad_hidden_ND, grad_output_VD.to(output_VD.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # type: ignore[override]
        """Scales what the forward pass stored."""
        grad_hidden_ND, grad_output_VD = ctx.saved_tensors
        return grad_hidden_ND * grad, grad_output_VD * grad, None, None, None


def orthogonalized(update: Tensor) -> Tensor:
    """Nearly orthogonal matrices with the row space of `update`, (M, R, C): five quintic Newton-Schulz steps in bf16.

    Source: Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks.
    """
    matrix = update.bfloat16()
    is_tall = matrix.shape[1] > matrix.shape[2]
    if is_tall:
        matrix = matrix.transpose(1, 2)
    matrix = matrix / (matrix.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = matrix @ matrix.transpose(1, 2)
        matrix = 3.4445 * matrix + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ matrix
    return matrix.transpose(1, 2) if is_tall else matrix
