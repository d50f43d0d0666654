"""The packed decoder gives what the stock forward gives, alone, after a prefix, and from slots that rows share."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from clsgen.model import adapter, backbone
from clsgen.model.decoder import Decoder, Kept, can_read

SHAPE = {
    "vocab_size": 90,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
LENGTHS = (5, 40, 300, 1)
ATOL = 5e-6


def make(kind: str, **settings: object):
    config_class, model_class = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "mistral": (MistralConfig, MistralForCausalLM),
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
        "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    }[kind]
    torch.manual_seed(0)
    return model_class(config_class(**SHAPE, **settings)).eval()


ROPES = {
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 128},
    "linear": {"factor": 2.0},
}

READ = {
    "llama": make("llama"),
    "llama with biases": make("llama", attention_bias=True, mlp_bias=True),
    **{
        f"llama with {kind} angles": make("llama", rope_parameters={"rope_type": kind, "rope_theta": 1e4, **rope})
        for kind, rope in ROPES.items()
    },
    "mistral": make("mistral", sliding_window=None),
    "qwen2": make("qwen2"),
    "qwen3": make("qwen3", head_dim=32),
}


@pytest.fixture(params=[*READ, "lora"])
def model(request):
    if request.param != "lora":
        return READ[request.param]
    wrapped = adapter.add_lora(make("llama"), rank=4, alpha=8.0, dropout=0.1, targets=None)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return wrapped.eval()


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 90, (length,), generator=generator).tolist() for length in LENGTHS]


def stock(model, ids: list[int]) -> torch.Tensor:
    return backbone.body_of(model)(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0]


@torch.no_grad()
def test_rows_read_together_are_rows_read_by_the_stock_forward(model, rows):
    assert can_read(model)
    hidden_ND, kept = Decoder(model).read(rows, keeps=False)
    assert kept == []
    for found_D, ids in zip(hidden_ND, rows, strict=True):
        assert torch.allclose(found_D, stock(model, ids)[-1], atol=ATOL)


@torch.no_grad()
def test_what_is_written_follows_on_what_was_read_whoever_shares_the_slots(model, rows):
    decoder = Decoder(model)
    _, kept = decoder.read(rows, keeps=True)
    slots = decoder.new_slots()
    for each in kept:
        slots.add([each])
    slots.remove(1)  # the last row moves into its slot
    order, fed = [0, 3, 2], [[7, 8, 9], [1], [4, 5]]
    hidden_TD = decoder.write(slots, fed)
    wanted = [stock(model, rows[row] + new)[len(rows[row]) :] for row, new in zip(order, fed, strict=True)]
    assert torch.allclose(hidden_TD, torch.cat(wanted), atol=ATOL)
    slots.lengths[0] -= 2  # 8 and 9 are forgotten
    again_TD = decoder.write(slots, [[3], [3], [3]])
    told = [rows[0] + [7, 3], rows[3] + [1, 3], rows[2] + [4, 5, 3]]
    assert torch.allclose(again_TD, torch.stack([stock(model, ids)[-1] for ids in told]), atol=ATOL)


@torch.no_grad()
def test_slots_grow(model):
    decoder = Decoder(model)
    _, kept = decoder.read([[1] * 250], keeps=True)
    slots = decoder.new_slots()
    slots.add(kept)
    for _ in range(12):
        found_TD = decoder.write(slots, [[2]])
    assert torch.allclose(found_TD[0], stock(model, [1] * 250 + [2] * 12)[-1], atol=ATOL)
    assert slots.room == (1, 512)  # longer rows are no reason for room for more of them
    slots.add(kept)
    slots.add(kept)
    assert slots.room == (4, 512)  # twice as many as there were, so that rows are seldom moved


@torch.no_grad()
def test_rows_after_a_prefix_are_rows_read_whole(model, rows):
    decoder = Decoder(model)
    _, (before,) = decoder.read([rows[1]], keeps=True)
    hidden_ND, kept = decoder.read([rows[0], rows[2], rows[3]], keeps=True, after=[before] * 3)
    for found_D, each, ids in zip(hidden_ND, kept, (rows[0], rows[2], rows[3]), strict=True):
        assert torch.allclose(found_D, stock(model, rows[1] + ids)[-1], atol=ATOL)
        slots = decoder.new_slots()
        slots.add([before, each])
        assert torch.allclose(decoder.write(slots, [[5]])[0], stock(model, [*rows[1], *ids, 5])[-1], atol=ATOL)


@torch.no_grad()
def test_bfloat16_rows_are_near_the_stock_forward(rows):
    model = make("llama").to(torch.bfloat16)
    hidden_ND, _ = Decoder(model).read(rows, keeps=False)
    wanted_ND = torch.stack([stock(model, ids)[-1] for ids in rows]).float()
    assert torch.allclose(hidden_ND.float(), wanted_ND, atol=0.05 * float(wanted_ND.abs().max()))


@torch.no_grad()
def test_the_last_tokens_of_each_row_are_given_where_they_are_wanted(model, rows):
    hidden_ND, _ = Decoder(model).read(rows[:3], keeps=False, num_wanted=[5, 1, 7])
    wanted = [stock(model, ids)[-num:] for ids, num in zip(rows[:3], (5, 1, 7), strict=True)]
    assert torch.allclose(hidden_ND, torch.cat(wanted), atol=ATOL)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("mistral", {"sliding_window": 64}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}),
    ],
)
def test_what_does_more_than_the_plain_layers_is_not_read(kind, settings):
    assert not can_read(make(kind, **settings))


def test_a_layer_that_computes_something_else_is_found_out():
    model = make("llama")
    model.model.layers[1].register_forward_hook(lambda module, args, output: 1.1 * output)
    assert not can_read(model)


def test_kept_says_how_many_tokens_it_holds():
    assert Kept(((torch.zeros(4, 2, 8), torch.zeros(4, 2, 8)),)).num_tokens == 4
