"""An adapter that acts only after the document: the frozen base reads what comes before, without a graph."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import DynamicCache

import tiny
from clsgen.data.batch import collate, encode_examples
from clsgen.errors import ModelError
from clsgen.inference.fast_engine import FastEngine
from clsgen.inference.plain_engine import PlainEngine
from clsgen.model import adapter, backbone
from clsgen.model.losses import class_loss, token_loss


@pytest.fixture(scope="module", params=["llama", "qwen"])
def base(request, tmp_path_factory):
    return tiny.save(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(params=["document_end", "decision"])
def built(request, base):
    return tiny.dual(base, tuning="activated", starts_at=request.param)


def encoded(built, count=5):
    return encode_examples(tiny.examples(count), built.renderer, with_targets=True).rows


def start_of(built, row):
    return row.document_end if built.model.starts_at == "document_end" else len(row.prompt_ids) - 1


def by_stock(built, row):
    """Hidden states after the start, by two calls of the stock forward: the base's cache, then the adapter."""
    ids, start = torch.tensor([row.prompt_ids + row.target_ids[:-1]]), start_of(built, row)
    body, cache = backbone.body_of(built.model.language_model), DynamicCache()
    with torch.no_grad(), adapter.adapter_off(built.model.language_model):
        body(input_ids=ids[:, :start], past_key_values=cache, use_cache=True)
    after = body(input_ids=ids[:, start:], past_key_values=cache, use_cache=True).last_hidden_state[0]
    return after[len(row.prompt_ids) - 1 - start :]  # from the decision position on


def loss_of(built, class_logits_BC, token_logits_NV, batch):
    classes = class_loss(class_logits_BC, batch.labels_B).total
    return classes + token_loss(token_logits_NV, batch.target_N).total


def gradients(built):
    found = {name: p.grad.clone() for name, p in built.model.named_parameters() if p.grad is not None}
    built.model.zero_grad()
    return found


def test_losses_and_gradients_are_those_of_two_stock_calls(built):
    with torch.no_grad():
        for name, parameter in built.model.named_parameters():
            if "lora_B" in name:
                parameter.mul_(0.1)  # the size that training reaches; the fixture's drowns float32 in rounding
    rows = encoded(built)
    batch = collate(rows, pad_id=built.pad_id)
    output = built.model(**{k: v for k, v in batch._asdict().items() if k not in ("labels_B", "target_N")})
    loss_of(built, output.class_logits_BC, output.token_logits_NV, batch).backward()
    ours = gradients(built)
    hidden = [by_stock(built, row) for row in rows]
    class_logits_BC = built.model.head(torch.stack([each[0] for each in hidden]))
    token_logits_NV = built.model.vocabulary_logits(torch.cat(hidden))  # the decision position predicts the first id
    loss_of(built, class_logits_BC, token_logits_NV, batch).backward()
    theirs = gradients(built)

    assert torch.allclose(output.class_logits_BC.softmax(-1), class_logits_BC.softmax(-1), atol=1e-5)
    assert torch.allclose(output.token_logits_NV, token_logits_NV, atol=1e-4)
    assert ours.keys() == theirs.keys()
    assert any("lora_A" in name for name in ours)
    for name, gradient in ours.items():
        assert (gradient - theirs[name]).norm() <= 1e-5 * theirs[name].norm(), name


def test_nothing_before_the_start_feels_the_adapter(base):
    """With the adapter's keys and values changed, what the base kept of the document is the same."""
    built = tiny.dual(base, tuning="activated")
    (row,) = encoded(built, 1)
    document = tuple(row.prompt_ids[: row.document_end])
    before = built.model.read_before({document})[document]
    with torch.no_grad():
        for name, parameter in built.model.named_parameters():
            if "lora_B" in name:
                parameter.mul_(3)
    again = built.model.read_before({document})[document]
    assert all(
        torch.equal(a, b)
        for old, new in zip(before.layers, again.layers, strict=True)
        for a, b in zip(old, new, strict=True)
    )
    stock = DynamicCache()
    with torch.no_grad(), adapter.adapter_off(built.model.language_model):
        ids = torch.tensor([row.prompt_ids[: row.document_end]])
        backbone.body_of(built.model.language_model)(input_ids=ids, past_key_values=stock, use_cache=True)
    for (key, value), layer in zip(before.layers, stock.layers, strict=True):
        assert torch.allclose(key, layer.keys[0].transpose(0, 1), atol=1e-5)
        assert torch.allclose(value, layer.values[0].transpose(0, 1), atol=1e-5)


def test_the_probability_does_not_depend_on_what_is_written_after_it(built):
    rows = encoded(built, 4)
    batch = collate(rows, pad_id=built.pad_id)._asdict()
    inputs = {k: v for k, v in batch.items() if k not in ("labels_B", "target_N")}
    first = built.model(**inputs).class_logits_BC
    changed = inputs["input_ids_BL"].clone()
    for index, row in enumerate(rows):
        changed[index, len(row.prompt_ids) :] = 7
    assert torch.equal(built.model(**{**inputs, "input_ids_BL": changed}).class_logits_BC, first)


def test_serving_gives_what_training_saw_by_either_engine(built):
    rows = encoded(built)
    prompts = [built.renderer.prompt(example.document) for example in tiny.examples(5)]
    batch = collate(rows, pad_id=built.pad_id)._asdict()
    with torch.no_grad():
        trained = built.model(**{k: v for k, v in batch.items() if k not in ("labels_B", "target_N")}).class_logits_BC
    texts = []
    for kind in (PlainEngine, FastEngine):
        engine = kind(built.model, pad_id=built.pad_id, end_id=built.renderer.template.end_id)
        assert torch.allclose(engine.class_logits(prompts).softmax(-1), trained.softmax(-1), atol=1e-5)
        assert torch.allclose(engine.class_logits(prompts[2:3]).softmax(-1), trained[2:3].softmax(-1), atol=1e-5)
        forced = [built.renderer.forced("free")] * len(prompts)
        texts.append(engine.generate(engine.prefill(prompts), forced, max_new_tokens=20))
    assert texts[0] == texts[1]
    row = rows[0]._replace(target_ids=[*built.renderer.forced("free"), *texts[0][0].ids, 0])
    written = built.model.vocabulary_logits(by_stock(built, row)).argmax(-1)[-len(texts[0][0].ids) - 1 :]
    assert written.tolist()[: len(texts[0][0].ids)] == texts[0][0].ids


@pytest.mark.parametrize("kind", [PlainEngine, FastEngine])
def test_threads_that_ask_at_once_get_the_answers_of_one(built, kind):
    engine = kind(built.model, pad_id=built.pad_id, end_id=built.renderer.template.end_id)
    prompts = [built.renderer.prompt(example.document) for example in tiny.examples(8)]
    forced = [built.renderer.forced("free")]

    def ask(prompt):
        found = engine.prefill([prompt])
        return found.class_logits_BC, engine.generate(found, forced, max_new_tokens=6)

    alone = [ask(prompt) for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(ask, prompts * 8))
    for at, (logits_BC, texts) in enumerate(together):
        assert torch.allclose(logits_BC, alone[at % 8][0], atol=1e-5)
        assert texts == alone[at % 8][1]


def test_where_the_adapter_starts_matters(base):
    prompts = None
    found = []
    for starts_at in ("document_end", "decision"):
        built = tiny.dual(base, tuning="activated", starts_at=starts_at)
        prompts = [built.renderer.prompt(example.document) for example in tiny.examples(3)]
        found.append(FastEngine(built.model, pad_id=built.pad_id, end_id=0).class_logits(prompts))
    assert not torch.allclose(found[0], found[1], atol=1e-3)


def test_it_is_never_folded_in_and_needs_a_plain_backbone(built, tmp_path):
    before = {name: parameter.clone() for name, parameter in built.model.named_parameters()}
    built.model.fold_adapter()
    assert all(torch.equal(parameter, before[name]) for name, parameter in built.model.named_parameters())
    with pytest.raises(ModelError, match="activated needs a backbone of the kinds llama"):
        tiny.dual(tiny.save("gpt2", tmp_path / "gpt2"), tuning="activated")


def test_a_row_that_does_not_say_where_its_document_ends_is_refused(built):
    batch = collate([row._replace(document_end=0) for row in encoded(built, 2)], pad_id=built.pad_id)._asdict()
    with pytest.raises(ValueError, match="where the document ends"):
        built.model(**{k: v for k, v in batch.items() if k not in ("labels_B", "target_N")})
