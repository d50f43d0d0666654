"""One prefill for both heads; padding, batch and cache move nothing."""

from __future__ import annotations

import pytest
import torch

import tiny
from clsgen.data.batch import pad_left
from clsgen.inference.fast_engine import FastEngine, make_engine
from clsgen.inference.plain_engine import PlainEngine
from clsgen.model import backbone

FAST = ("llama", "qwen")
PAIRS = [*((family, PlainEngine) for family in tiny.FAMILIES), *((family, FastEngine) for family in FAST)]


@pytest.fixture(scope="module", params=PAIRS, ids=[f"{family}-{kind.__name__}" for family, kind in PAIRS])
def pair(request):
    return request.param


@pytest.fixture(scope="module")
def family(pair):
    return pair[0]


@pytest.fixture(scope="module")
def built(family, tmp_path_factory):
    return tiny.dual(tiny.save(family, tmp_path_factory.mktemp(family)))


@pytest.fixture(scope="module")
def make(pair):
    return pair[1]


@pytest.fixture(scope="module")
def engine(built, make):
    return make(built.model, pad_id=built.pad_id, end_id=built.renderer.template.end_id)


def test_the_fast_engine_is_taken_where_it_reads_the_architecture(built, family):
    kinds = {kind: type(make_engine(built.model, pad_id=0, end_id=1, kind=kind)) for kind in ("auto", "plain")}
    assert kinds == {"auto": FastEngine if family in FAST else PlainEngine, "plain": PlainEngine}


@pytest.fixture(scope="module")
def prompts(built):
    return [built.renderer.prompt(row.document) for row in tiny.examples(8)]


def probs(logits):
    return logits.softmax(dim=-1)


def test_batch_of_one_is_batch_of_eight(engine, prompts):
    together = engine.class_logits(prompts)
    alone = torch.cat([engine.class_logits([prompt]) for prompt in prompts])
    assert torch.allclose(probs(together), probs(alone), atol=1e-5, rtol=0)


@torch.no_grad()
def test_left_padding_is_right_padding(built, engine, prompts):
    from clsgen.data.batch import EncodedExample, collate

    left = engine.class_logits(prompts)
    batch = collate(
        [EncodedExample("", p.ids, [], 0, 0, "free", p.document_end) for p in prompts], pad_id=built.pad_id
    )._asdict()
    right = built.model(**{k: v for k, v in batch.items() if k not in ("labels_B", "target_N")}).class_logits_BC
    assert torch.allclose(probs(left), probs(right), atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_probability_is_read_at_the_last_prompt_token(built, engine, prompts):
    output = built.model.language_model(input_ids=torch.tensor([prompts[0].ids]), output_hidden_states=True)
    by_hand = built.model.head.weight @ output.hidden_states[-1][0, -1].float()
    assert torch.allclose(engine.class_logits([prompts[0]])[0], by_hand, atol=1e-5)


def test_prefill_gives_the_same_probability_as_classifying(engine, prompts):
    assert torch.allclose(
        probs(engine.prefill(prompts).class_logits_BC), probs(engine.class_logits(prompts)), atol=1e-5
    )


def test_greedy_text_is_that_of_stock_generate(built, engine, prompts):
    forced = built.renderer.forced("free")
    written = engine.generate(engine.prefill(prompts), [forced] * len(prompts), max_new_tokens=12)
    end = built.renderer.template.end_id
    for prompt, generated in zip(prompts, written, strict=True):
        ids = torch.tensor([prompt.ids + forced])
        stock = built.model.language_model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, eos_token_id=end
        )[0, ids.shape[1] :].tolist()
        assert generated.ids == (stock[:-1] if generated.has_ended else stock)


def test_rows_with_forced_ids_of_unequal_length_share_a_batch(built, engine, prompts):
    forced = [built.renderer.forced("decision", tiny.SPEC.labels[index % 2]) for index in range(len(prompts))]
    forced[0] = forced[0][:-1]
    assert len({len(ids) for ids in forced}) > 1
    together = engine.generate(engine.prefill(prompts), forced, max_new_tokens=10)
    for prompt, ids, generated in zip(prompts, forced, together, strict=True):
        assert engine.generate(engine.prefill([prompt]), [ids], max_new_tokens=10) == [generated]


def test_some_rows_of_a_prefill_can_be_explained(built, engine, prompts):
    forced = built.renderer.forced("free")
    everything = engine.generate(engine.prefill(prompts), [forced] * len(prompts), max_new_tokens=10)
    some = engine.generate(engine.prefill(prompts).select([5, 2]), [forced] * 2, max_new_tokens=10)
    assert some == [everything[5], everything[2]]


def test_generation_stops_at_the_end_token_and_at_the_limit(built, engine, make, prompts):
    forced = built.renderer.forced("free")
    plain = engine.generate(engine.prefill(prompts), [forced] * len(prompts), max_new_tokens=6)
    assert all(len(generated.ids) <= 6 for generated in plain)
    chosen = plain[0].ids[2]
    stopping = make(built.model, pad_id=built.pad_id, end_id=chosen)
    found = stopping.generate(stopping.prefill(prompts), [forced] * len(prompts), max_new_tokens=6)
    for before, after in zip(plain, found, strict=True):
        cut = before.ids.index(chosen) if chosen in before.ids else None
        assert after.has_ended == (cut is not None)
        assert after.ids == (before.ids if cut is None else before.ids[:cut])


def test_probability_alone_never_touches_the_vocabulary_and_keeps_no_cache(built, engine, prompts):
    calls = []
    handle = backbone.base_of(built.model.language_model).get_output_embeddings().register_forward_hook(
        lambda *args: calls.append(1)
    )  # fmt: skip
    engine.class_logits(prompts)
    assert not calls
    engine.prefill(prompts)
    assert not calls  # the prefill itself needs no vocabulary either
    handle.remove()


def test_the_prompt_is_read_once(built, engine, prompts):
    """Tokens that go through the backbone: every prompt once, then the forced ids, then what was written or guessed."""
    seen = []
    embedding = backbone.base_of(built.model.language_model).get_input_embeddings()
    handle = embedding.register_forward_pre_hook(lambda module, args: seen.append(args[0].numel()))
    forced = built.renderer.forced("free")
    engine.generate(engine.prefill(prompts[:1]), [forced], max_new_tokens=4)
    handle.remove()
    assert seen[:2] == [len(prompts[0].ids), len(forced)]
    assert max(seen[2:], default=1) <= (1 if isinstance(engine, PlainEngine) else 3)


def test_pad_left_positions_count_without_padding():
    padded = pad_left([[9, 9, 9], [9]], pad_id=0)
    assert padded.position_ids_BL.tolist() == [[0, 1, 2], [0, 0, 0]]
