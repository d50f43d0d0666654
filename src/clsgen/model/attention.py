"""Attention for training on a processor without a GPU: batched matrix products over blocks of queries.

The stock kernel (scaled_dot_product_attention) does not use the bfloat16 matrix units of a processor well, least of all
in its backward. Measured with the embedded base, forward and backward under bfloat16 autocast on one core (tokens a
second, stock and here): full tuning 1,909 and 3,065 at 600 tokens, 2,783 and 3,451 at 200; LoRA 1,590 and 2,305, 1,943
and 2,501. Nothing is kept between forward and backward but queries, keys and values, as in the stock kernel.

B examples, H heads, G key heads, R = H / G, T queries, S keys, D width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from clsgen.model.backbone import base_of

BLOCKED = "clsgen_blocked"
_BLOCK = 256
_PLAIN = ("llama", "qwen2", "qwen3", "mistral")
"""Architectures whose attention is queries, keys, values and a causal mask: no soft cap, no sinks."""


@contextmanager
def blocked_attention(model: nn.Module) -> Iterator[None]:
    """Within it a plain causal model on a processor uses blocked attention; any other model is left as it is."""
    base = base_of(model)
    config = base.config
    if (
        base.device.type != "cpu"
        or config.model_type not in _PLAIN
        or config.attention_dropout
        or config._attn_implementation != "sdpa"
    ):
        yield
        return
    AttentionInterface.register(BLOCKED, _attend)
    AttentionMaskInterface.register(BLOCKED, sdpa_mask)
    base.set_attn_implementation(BLOCKED)
    try:
        yield
    finally:
        base.set_attn_implementation("sdpa")


class _Blocked(torch.autograd.Function):
    """softmax(q k + mask) v, with the probabilities formed anew in the backward."""

    @staticmethod
    def forward(
        ctx: Any, query_BGRTD: Tensor, key_BGSD: Tensor, value_BGSD: Tensor, mask_B1TS: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(query_BGRTD, key_BGSD, value_BGSD, mask_B1TS)
        output_BGRTD = torch.empty_like(query_BGRTD)
        for rows, num_keys in _blocks(query_BGRTD.shape[3], key_BGSD.shape[2]):
            probs_NQS = _probs(query_BGRTD, key_BGSD, mask_B1TS, rows, num_keys)
            value_NSD = value_BGSD[:, :, :num_keys].flatten(0, 1)
            output_BGRTD[:, :, :, rows] = torch.bmm(probs_NQS, value_NSD).view_as(output_BGRTD[:, :, :, rows])
        return output_BGRTD

    @staticmethod
    def backward(ctx: Any, grad_BGRTD: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query_BGRTD, key_BGSD, value_BGSD, mask_B1TS = ctx.saved_tensors
        grad_query = torch.empty_like(query_BGRTD)
        grad_key, grad_value = (torch.zeros(part.shape, dtype=torch.float32) for part in (key_BGSD, value_BGSD))
        for rows, num_keys in _blocks(query_BGRTD.shape[3], key_BGSD.shape[2]):
            probs_NQS = _probs(query_BGRTD, key_BGSD, mask_B1TS, rows, num_keys)
            grad_NQD, query_NQD = (_flat(part[:, :, :, rows]) for part in (grad_BGRTD, query_BGRTD))
            key_NSD, value_NSD = (part[:, :, :num_keys].flatten(0, 1) for part in (key_BGSD, value_BGSD))
            grad_value[:, :, :num_keys] += torch.bmm(probs_NQS.transpose(1, 2), grad_NQD).view_as(
                grad_value[:, :, :num_keys]
            )
            grad_probs = torch.bmm(grad_NQD, value_NSD.transpose(1, 2))
            grad_logits = torch.ops.aten._softmax_backward_data(grad_probs, probs_NQS, -1, probs_NQS.dtype)
            grad_query[:, :, :, rows] = torch.bmm(grad_logits, key_NSD).view_as(grad_query[:, :, :, rows])
            grad_key[:, :, :num_keys] += torch.bmm(grad_logits.transpose(1, 2), query_NQD).view_as(
                grad_key[:, :, :num_keys]
            )
        return grad_query, grad_key.to(key_BGSD.dtype), grad_value.to(value_BGSD.dtype), None


def _blocks(num_queries: int, num_keys: int) -> Iterator[tuple[slice, int]]:
    """Queries of a block, and the keys that the last of them may see; with a cache there are more keys than queries."""
    for start in range(0, num_queries, _BLOCK):
        end = min(start + _BLOCK, num_queries)
        yield slice(start, end), num_keys - num_queries + end


def _flat(part_BGRQD: Tensor) -> Tensor:
    return part_BGRQD.flatten(2, 3).flatten(0, 1)


def _probs(query_BGRTD: Tensor, key_BGSD: Tensor, mask_B1TS: Tensor | None, rows: slice, num_keys: int) -> Tensor:
    """(B * G, R * Q, S) attention probabilities of a block of queries."""
    block = query_BGRTD[:, :, :, rows]
    logits_NQS = torch.bmm(_flat(block), key_BGSD[:, :, :num_keys].flatten(0, 1).transpose(1, 2))
    if mask_B1TS is None:
        last_seen = torch.arange(num_keys - block.shape[3], num_keys)
        is_hidden = (torch.arange(num_keys) > last_seen[:, None])[None, None, None]
    else:
        is_hidden = ~mask_B1TS[:, :, rows, :num_keys][:, :, None]
    # the least number, not -inf: a row of padding sees nothing, and must not become NaN
    logits_NQS.view(*block.shape[:4], num_keys).masked_fill_(is_hidden, torch.finfo(logits_NQS.dtype).min)
    return logits_NQS.softmax(-1)


def blocked(query_BHTE: Tensor, key_BGSE: Tensor, value_BGSE: Tensor, mask_B1TS: Tensor | None = None) -> Tensor:
    """softmax(q k) v, causal or as the mask says; queries (B, H, T, E) are scaled already, G divides H."""
    num_examples, num_heads, num_queries, width = query_BHTE.shape
    num_key_heads = key_BGSE.shape[1]
    shape = (num_examples, num_key_heads, num_heads // num_key_heads, num_queries, width)
    output: Tensor = _Blocked.apply(  # type: ignore[no-untyped-call]
        query_BHTE.reshape(shape), key_BGSE, value_BGSE, mask_B1TS
    )
    return output.view(query_BHTE.shape)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """What transformers calls: query (B, H, T, D), key and value (B, G, S, D), mask (B, 1, T, S) true where seen."""
    dtype = value.dtype  # rotary embedding leaves queries and keys in float32 under autocast
    output = blocked((query * settings["scaling"]).to(dtype), key.to(dtype), value, attention_mask)
    return output.transpose(1, 2).contiguous(), None
