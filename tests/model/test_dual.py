"""The position contract: the head reads the last prompt token, whatever is written after it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import tiny
from clsgen.data.batch import collate, encode_examples
from clsgen.model import backbone
from clsgen.model.dual import DualModel
from clsgen.model.head import ClassHead
from clsgen.model.losses import class_loss


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def built(request, tmp_path_factory):
    return tiny.dual(tiny.save(request.param, tmp_path_factory.mktemp(request.param)))


def forward(built, rows, *, multiple=1, **options):
    batch = collate(rows, pad_id=built.pad_id, multiple=multiple)._asdict()
    inputs = {name: tensor for name, tensor in batch.items() if name not in ("labels_B", "target_N")}
    return built.model(**inputs, **options), batch


def encoded(built, count=6):
    return encode_examples(tiny.examples(count), built.renderer, with_targets=True).rows


@torch.no_grad()
def test_bit_identical_when_only_the_explanations_content_changes(built):
    rows = encoded(built)
    changed = [row._replace(target_ids=[(token + 1) % 300 for token in row.target_ids]) for row in rows]
    first, second = forward(built, rows)[0], forward(built, changed)[0]
    assert torch.equal(first.class_logits_BC, second.class_logits_BC)
    assert not torch.equal(first.token_logits_NV, second.token_logits_NV)


@torch.no_grad()
def test_length_padding_and_batch_move_nothing_beyond_float32(built):
    rows = encoded(built)
    together = forward(built, rows)[0].class_logits_BC
    alone = torch.cat([forward(built, [row])[0].class_logits_BC for row in rows])
    bare = torch.cat([forward(built, [row._replace(target_ids=[])])[0].class_logits_BC for row in rows])
    padded = forward(built, rows, multiple=64)[0].class_logits_BC
    for other in (alone, bare, padded):
        assert torch.allclose(together.softmax(-1), other.softmax(-1), atol=1e-5, rtol=0)


def test_class_loss_has_no_gradient_at_explanation_embeddings(built):
    captured = []

    def keep(module, args, output):
        output.retain_grad()
        captured.append(output)

    embeddings = backbone.base_of(built.model.language_model).get_input_embeddings()
    embeddings.weight.requires_grad_(True)
    handle = embeddings.register_forward_hook(keep)
    output, batch = forward(built, encoded(built))
    class_loss(output.class_logits_BC, batch["labels_B"]).total.backward()
    handle.remove()
    embeddings.weight.requires_grad_(False)
    gradient_BL = captured[0].grad.abs().sum(dim=-1)
    columns = torch.arange(gradient_BL.shape[1])
    is_after = columns[None] > batch["decision_B"][:, None]
    assert is_after.any()
    assert (gradient_BL[is_after] == 0).all()
    at_decision = gradient_BL[torch.arange(len(gradient_BL)), batch["decision_B"]]
    assert (at_decision > 0).all()


def test_vocabulary_logits_exist_at_supervised_positions_only(built, monkeypatch):
    """The projection sees N rows, never (batch, length)."""
    seen = []
    output_layer = backbone.base_of(built.model.language_model).get_output_embeddings()
    handle = output_layer.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
    rows = encoded(built)
    forward(built, rows)
    handle.remove()
    assert seen == [(sum(len(row.target_ids) for row in rows), output_layer.weight.shape[0])]


@torch.no_grad()
def test_supervised_logits_are_the_stock_models_own(built):
    """Against the model's own forward over the whole row: a shifted position would show."""
    row = encoded(built, 1)[0]
    ours = forward(built, [row])[0].token_logits_NV
    ids = torch.tensor([row.prompt_ids + row.target_ids])
    theirs = built.model.language_model(input_ids=ids).logits[0, len(row.prompt_ids) - 1 : -1].float()
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert len(ours) == len(row.target_ids)


@torch.no_grad()
def test_class_logits_are_a_linear_read_of_the_last_prompt_token(built):
    row = encoded(built, 1)[0]
    ours = forward(built, [row])[0].class_logits_BC[0]
    hidden = built.model.language_model(
        input_ids=torch.tensor([row.prompt_ids]), output_hidden_states=True
    ).hidden_states[-1]
    assert torch.allclose(ours, built.model.head.weight @ hidden[0, -1].float(), atol=1e-5)


@torch.no_grad()
def test_base_logits_are_those_of_the_model_without_its_adapter(built, tmp_path):
    rows = encoded(built, 2)
    output, _ = forward(built, rows, with_base=True)
    with built.model.language_model.disable_adapter():
        bare, _ = forward(built, rows)
    assert torch.equal(output.base_logits_NV, bare.token_logits_NV)
    assert not torch.equal(output.base_logits_NV, output.token_logits_NV)


@torch.no_grad()
def test_full_tuning_keeps_a_frozen_reference(tmp_path):
    built = tiny.dual(tiny.save("llama", tmp_path / "base"), tuning="full")
    size = built.model.keep_reference()
    assert size == sum(p.numel() * 4 for p in built.model.language_model.parameters())
    names = set(built.model.state_dict())
    for parameter in built.model.language_model.parameters():
        parameter.add_(0.05)
    output, _ = forward(built, encoded(built, 2), with_base=True)
    assert not torch.allclose(output.base_logits_NV, output.token_logits_NV)
    assert set(built.model.state_dict()) == names
    assert not any("reference" in name for name in names)


def test_a_full_model_without_reference_says_so(tmp_path):
    built = tiny.dual(tiny.save("llama", tmp_path / "base"), tuning="full")
    with pytest.raises(RuntimeError, match="only a model with an adapter holds its base"):
        forward(built, encoded(built, 1), with_base=True)


def test_head_is_float32_in_bfloat16_models_and_under_autocast(tmp_path):
    folder = tiny.save("llama", tmp_path / "base")
    made = tiny.build(
        tiny.settings(backbone=str(folder), tuning="full", dtype="bfloat16"),
        tiny.SPEC,
        tiny.examples(),
        seed=0,
        folder=tmp_path / "m",
    )
    assert backbone.base_of(made.model.language_model).dtype == torch.bfloat16
    assert made.model.head.weight.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, _ = forward(made, encoded(made, 2))
    assert output.class_logits_BC.dtype == torch.float32
    assert output.token_logits_NV.dtype == torch.float32


@torch.no_grad()
def test_bfloat16_moves_a_probability_by_less_than_a_hundredth(tmp_path):
    folder = tiny.save("llama", tmp_path / "base")
    made = tiny.dual(folder, tuning="full")
    low = DualModel(made.model.language_model.to(torch.bfloat16), made.model.head, tuning="full")
    rows = encoded(made)
    probs = [
        torch.cat([forward(made._replace(model=low), chunk)[0].class_logits_BC for chunk in plan]).softmax(-1)
        for plan in ([rows], [[row] for row in rows])
    ]
    assert (probs[0] - probs[1]).abs().max() < 0.01


def test_two_classes_are_two_logits_never_regression():
    assert ClassHead(8, 2)(torch.zeros(3, 8)).shape == (3, 2)


@pytest.mark.parametrize("is_tied", [True, False])
def test_trained_state_holds_tied_weights_once(tmp_path, is_tied):
    built = tiny.dual(tiny.save("qwen", tmp_path / "base", is_tied=is_tied), tuning="full")
    state = built.model.trained_state()
    tables = [name for name in state if "embed_tokens" in name or "lm_head" in name]
    assert len(tables) == (1 if is_tied else 2)
    assert sum(tensor.numel() for tensor in state.values()) == built.model.num_parameters()


def test_head_only_trains_the_head_alone(tmp_path):
    built = tiny.dual(tiny.save("llama", tmp_path / "base"), tuning="head_only")
    assert set(built.model.trained_state()) == {"head.weight"}


def test_lora_leaves_head_and_adapter_trainable_alone(tmp_path):
    built = tiny.dual(tiny.save("llama", tmp_path / "base"))
    names = set(built.model.trained_state())
    assert "head.weight" in names
    assert all("lora_" in name for name in names - {"head.weight"})
    assert not any("lm_head" in name for name in names)


def test_gradient_checkpointing_gives_the_same_gradients(tmp_path):
    folder = tiny.save("llama", tmp_path / "base")
    gradients = []
    for is_on in (False, True):
        built = tiny.dual(folder)
        if is_on:
            built.model.enable_gradient_checkpointing()
        built.model.train()
        output, batch = forward(built, encoded(built, 4))
        (class_loss(output.class_logits_BC, batch["labels_B"]).total + output.token_logits_NV.mean()).backward()
        gradients.append({name: p.grad for name, p in built.model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-6), name


def test_embeddings_keep_their_size(built):
    base = backbone.base_of(built.model.language_model)
    assert base.get_input_embeddings().num_embeddings == base.config.get_text_config().vocab_size


def test_pad_and_end_ids_stand_in_config_and_generation_config(built):
    base = backbone.base_of(built.model.language_model)
    end = base.config.eos_token_id
    assert base.config.pad_token_id == base.generation_config.pad_token_id == built.tokenizer.pad_token_id
    assert base.generation_config.eos_token_id == end
    ends = [end] if isinstance(end, int) else end
    assert ends[0] == built.renderer.template.end_id
    assert built.pad_id not in ends


def test_encoded_examples_have_no_label_in_the_prompt(built):
    """Another label gives the same prompt."""
    row = tiny.examples(1)[0]
    other = dataclasses.replace(row, label="sun")
    first, second = (encode_examples([r], built.renderer, with_targets=True).rows[0] for r in (row, other))
    assert first.prompt_ids == second.prompt_ids
    assert first.target_ids != second.target_ids


@pytest.mark.parametrize("size", [1, 1000, 5000])
def test_the_loss_in_parts_is_the_loss_at_once(tmp_path, monkeypatch, size):
    """Value and gradients, whatever the parts; and no more logits at a time than a part has."""
    built = tiny.dual(tiny.save("llama", tmp_path / "llama"), tuning="full")
    batch = collate(encoded(built, 6), pad_id=built.pad_id)._asdict()
    del batch["labels_B"]
    seen = []
    real = built.model.vocabulary_logits
    monkeypatch.setattr(built.model, "vocabulary_logits", lambda hidden: (seen.append(len(hidden)), real(hidden))[1])

    def run():
        built.model.zero_grad()
        output = built.model(**batch)
        (output.token_loss.total + output.class_logits_BC.sum()).backward()
        gradients = {name: p.grad.clone() for name, p in built.model.named_parameters() if p.grad is not None}
        return output, gradients

    whole, wanted = run()
    assert whole.token_logits_NV is not None
    seen.clear()
    monkeypatch.setattr("clsgen.model.dual._MAX_LOGITS", size)
    parts, found = run()
    assert parts.token_logits_NV is None
    assert parts.token_loss.weight == whole.token_loss.weight == len(batch["target_N"])
    assert torch.allclose(parts.token_loss.total, whole.token_loss.total, rtol=1e-5)
    vocabulary = real(torch.zeros(1, 32)).shape[1]
    assert max(seen) == max(1, size // vocabulary)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert (gradient - found[name]).norm() <= 1e-5 * gradient.norm() + 1e-7, name
