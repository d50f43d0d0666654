"""Blocked attention against the stock kernel, in float32: outputs, gradients, padding, caches."""

import pytest
import torch
from transformers import DynamicCache

import tiny
from clsgen.model.attention import BLOCKED, blocked_attention
from clsgen.model.backbone import base_of


def hidden_and_gradients(model, ids, mask):
    model.zero_grad()
    hidden = base_of(model).model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    real = hidden[mask.bool()]
    (real.square().sum() + real[::3].sum()).backward()
    return real.detach(), torch.cat([part.grad.flatten() for part in model.parameters() if part.grad is not None])


def both(model, ids, mask):
    stock = hidden_and_gradients(model, ids, mask)
    with blocked_attention(model):
        assert base_of(model).config._attn_implementation == BLOCKED
        ours = hidden_and_gradients(model, ids, mask)
    assert base_of(model).config._attn_implementation == "sdpa"
    return stock, ours


@pytest.mark.parametrize("side", ["right", "left", "none"])
@pytest.mark.parametrize("length", [5, 300])
def test_outputs_and_gradients_are_the_stock_kernels(side, length):
    model = tiny.backbone("llama", 64)
    torch.manual_seed(0)
    ids = torch.randint(3, 60, (3, length))
    mask = torch.ones_like(ids)
    if side != "none":
        for row, num_padded in enumerate((0, 1, length - 2)):
            part = slice(length - num_padded, None) if side == "right" else slice(0, num_padded)
            mask[row, part] = 0
    (hidden, gradients), (our_hidden, our_gradients) = both(model, ids, mask)
    assert torch.allclose(hidden, our_hidden, atol=1e-5)
    assert (gradients - our_gradients).norm() < 1e-5 * gradients.norm()


@pytest.mark.parametrize("family", ["qwen", "mistral"])
def test_sliding_windows_and_biases_are_seen(family):
    model = tiny.backbone(family, 64)
    ids = torch.randint(3, 60, (2, 290), generator=torch.Generator().manual_seed(1))
    (hidden, gradients), (our_hidden, our_gradients) = both(model, ids, torch.ones_like(ids))
    assert torch.allclose(hidden, our_hidden, atol=1e-5)
    assert (gradients - our_gradients).norm() < 1e-5 * gradients.norm()


@torch.no_grad()
def test_reading_on_from_a_cache_is_reading_it_all():
    model = tiny.backbone("llama", 64)
    ids = torch.randint(3, 60, (2, 280))
    whole = model.model(input_ids=ids).last_hidden_state[:, -3:]
    with blocked_attention(model):
        cache = DynamicCache(config=model.config)
        model.model(input_ids=ids[:, :-3], past_key_values=cache)
        rest = model.model(input_ids=ids[:, -3:], past_key_values=cache).last_hidden_state
    assert torch.allclose(whole, rest, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "gemma"])
def test_other_models_are_left_as_they_are(family):
    model = tiny.backbone(family, 64)
    before = model.config._attn_implementation
    with blocked_attention(model):
        assert model.config._attn_implementation == before
