"""Guesses and shared slots change how fast text is written, not what is written."""

from __future__ import annotations

import itertools

import pytest
import torch

import tiny
from clsgen.inference import fast_writer
from clsgen.inference.engine import Part, Pick
from clsgen.inference.fast_engine import FastEngine
from clsgen.inference.lookup import Lookup
from clsgen.inference.no_repeat import NoRepeat
from clsgen.inference.plain_engine import PlainEngine
from clsgen.model import backbone


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return tiny.dual(tiny.save("llama", tmp_path_factory.mktemp("llama")))


@pytest.fixture(scope="module")
def prompts(built):
    return [built.renderer.prompt(row.document) for row in tiny.examples(12)]


def engine_of(built, kind=FastEngine, **settings):
    return kind(built.model, pad_id=built.pad_id, end_id=-1, **settings)


def write(engine, built, prompts, **options):
    forced = [built.renderer.forced("free")] * len(prompts)
    return [each.ids for each in engine.generate(engine.prefill(prompts), forced, max_new_tokens=60, **options)]


@pytest.mark.parametrize("size", [None, 4])
def test_text_with_guesses_is_the_text_without(built, prompts, size):
    pick = {} if size is None else {"pick": NoRepeat(size)}
    plain = write(engine_of(built, PlainEngine), built, prompts, **pick)
    assert all(len(ids) == 60 for ids in plain)  # never more than may be written
    for has_lookup in (False, True):
        pick = {} if size is None else {"pick": NoRepeat(size)}
        assert write(engine_of(built, has_lookup=has_lookup), built, prompts, **pick) == plain


def test_a_quote_of_the_prompt_is_written_in_fewer_steps(built, prompts):
    def num_reads(*, has_lookup):
        """Reads of a row whose choice is, whatever the logits, to quote its prompt."""
        quote, seen = itertools.cycle(prompts[0].ids), []
        embedding = backbone.base_of(built.model.language_model).get_input_embeddings()
        handle = embedding.register_forward_pre_hook(lambda module, args: seen.append(args[0].numel()))
        engine = engine_of(built, has_lookup=has_lookup)

        class Quoting(Pick):
            def __call__(self, logits_NV, rows):
                return [next(quote)]

        (ids,) = write(engine, built, prompts[:1], pick=Quoting())
        handle.remove()
        assert ids == list(itertools.islice(itertools.cycle(prompts[0].ids), 60))
        return len(seen)

    assert num_reads(has_lookup=False) == 61  # prompt, forced ids, one id a step
    assert num_reads(has_lookup=True) < 15


def test_more_rows_than_slots_write_what_they_write_alone(built, prompts, monkeypatch):
    engine = engine_of(built)
    together = write(engine, built, prompts)
    monkeypatch.setattr(fast_writer, "_MAX_ROWS", {"cpu": 3})
    step, rows = fast_writer.FastWriter.step, []
    monkeypatch.setattr(fast_writer.FastWriter, "step", lambda self: (rows.append(self.num_rows), step(self))[1])
    assert write(engine, built, prompts) == together
    assert max(rows) == 3 < len(prompts)


def test_rows_read_apart_write_together_and_are_read_when_there_is_room(built, prompts, monkeypatch):
    engine, num_read = engine_of(built), []
    forced = built.renderer.forced("free")

    def parts():
        for at in range(0, len(prompts), 2):
            num_read.append(at)
            part = prompts[at : at + 2]
            yield Part(range(at, at + len(part)), engine.prefill(part), [forced] * len(part), [8] * len(part))

    whole = engine.generate(engine.prefill(prompts), [forced] * len(prompts), max_new_tokens=8)
    assert dict(engine.write(parts())) == dict(enumerate(whole))
    monkeypatch.setattr(fast_writer, "_MAX_ROWS", {"cpu": 3})
    num_read.clear()
    written = engine.write(parts())
    next(written)
    assert num_read == [0, 2]  # three rows write, and the fourth waits: the rest is not read yet
    assert 1 + len(list(written)) == len(prompts)


def test_each_row_has_room_of_its_own(built, prompts):
    forced = built.renderer.forced("free")
    for engine in (engine_of(built), PlainEngine(built.model, pad_id=built.pad_id, end_id=-1)):
        engine.end_id = -1
        part = Part([5, 3, 8], engine.prefill(prompts[:3]), [forced] * 3, [2, 7, 4])
        assert {key: len(text.ids) for key, text in engine.write([part])} == {5: 2, 3: 7, 8: 4}


def test_a_guess_is_what_followed_the_same_run_before():
    lookup = Lookup([*range(1, 20), 1, 2])
    assert lookup.guess() == list(range(3, 14))
    lookup.add([3])
    assert lookup.guess() == list(range(4, 15))
    lookup.add([11])  # after 3 is new, but stood there alone: a short guess
    assert lookup.guess() == [12, 13, 14]
    lookup.add([1, 2])  # the latest place counts
    assert lookup.guess() == [3, 11, 1, 2]
    lookup.add([99])
    assert lookup.guess() == []


def asked(built, documents, questions):
    return [built.renderer.prompt(document, question) for document in documents for question in questions]


@pytest.mark.parametrize("tuning", ["lora", "activated"])
def test_a_document_asked_about_often_is_read_once_with_the_same_answers(tmp_path, tuning):
    built = tiny.dual(tiny.save("llama", tmp_path / "base"), tuning=tuning)
    documents = [row.document for row in tiny.examples(3)]
    prompts = [
        *asked(built, documents, ["Is it warm?", "Is it?", "Is it a day in May?"]),
        built.renderer.prompt("puddles"),
    ]
    engine = engine_of(built)
    seen = []
    embedding = backbone.base_of(built.model.language_model).get_input_embeddings()
    handle = embedding.register_forward_pre_hook(lambda module, args: seen.append(args[0].numel()))
    logits = engine.class_logits(prompts)
    handle.remove()
    shared = sum(prompts[3 * number].document_end for number in range(3))
    questions = sum(len(prompt.ids) - prompt.document_end for prompt in prompts[:9])
    assert sum(seen) == shared + questions + len(prompts[9].ids)

    plain = engine_of(built, PlainEngine)
    assert torch.allclose(logits.softmax(-1), plain.class_logits(prompts).softmax(-1), atol=1e-5)
    assert write(engine, built, prompts) == write(plain, built, prompts)


def test_batches_hold_a_budget_of_tokens_and_a_document_once(built):
    prompts = asked(built, ["wet streets and puddles " * 4, "sun"], ["Is it warm?", "Is it?"])
    engine = engine_of(built)
    (batch,) = engine.plan(prompts, batch_tokens=10_000)
    assert sorted(batch) == [0, 1, 2, 3]
    costs = [len(prompt.ids) for prompt in prompts]
    together = costs[0] + costs[1] - prompts[1].document_end
    assert engine.plan(prompts, batch_tokens=together) == [[0, 1], [2, 3]]
    smaller = engine.plan(prompts, batch_tokens=together - 1)
    assert not any({0, 1} <= set(rows) for rows in smaller)  # the document is read twice
    assert sorted(row for rows in engine.plan(prompts, batch_tokens=1) for row in rows) == [0, 1, 2, 3]
