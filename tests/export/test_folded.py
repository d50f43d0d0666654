"""Both heads in a stock model, against the dual-head model itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GraniteConfig, GraniteForCausalLM

import tiny
from clsgen.data.template import Renderer
from clsgen.errors import ConfigError, ModelError
from clsgen.export.folded import class_logits, fold
from clsgen.export.record import FoldedRecord
from clsgen.inference.predictor import Classifier
from clsgen.model.calibrator import Knots
from clsgen.model.checkpoint import Bundle

ROWS = tiny.examples(24)


def made(folder: Path, family: str, *, is_tied: bool | None = None, tuning: str = "full") -> Bundle:
    return tiny.bundle_of(tiny.dual(tiny.save(family, folder / "base", is_tied=is_tied), tuning=tuning))


def prompts_of(bundle: Bundle) -> list[list[int]]:
    return [bundle.renderer.prompt(row.document).ids for row in ROWS]


@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("family", ["llama", "qwen", "mistral"])
def test_class_logits_are_those_of_the_head(family: str, is_tied: bool, tmp_path: Path) -> None:
    bundle = made(tmp_path, family, is_tied=is_tied)
    classifier = Classifier(bundle)
    native, logits, prompts = classifier.predict_proba(ROWS), classifier.class_logits(ROWS), prompts_of(bundle)
    folded = fold(bundle, prompts[:12])
    found = class_logits(folded.language_model, folded.record, prompts)
    # the head's logits times the slope, and something that all classes have in common
    difference = found - logits * bundle.calibrator.slopes[0]
    assert np.ptp(difference, axis=1).max() < 1e-4
    assert np.abs(folded.record.calibrator.probs(found) - native).max() < 1e-5


def test_an_adapter_goes_into_the_weights(tmp_path: Path) -> None:
    bundle = made(tmp_path, "mistral", tuning="lora")
    native, prompts = Classifier(bundle).predict_proba(ROWS), prompts_of(bundle)
    folded = fold(bundle, prompts)
    found = class_logits(folded.language_model, folded.record, prompts)
    assert np.abs(folded.record.calibrator.probs(found) - native).max() < 1e-5
    assert type(folded.language_model).__name__ == "MistralForCausalLM"


def test_classes_are_the_likeliest_ids_of_texts_that_were_no_probe(tmp_path: Path) -> None:
    bundle = made(tmp_path, "llama")
    bundle.model.head.weight.data *= 0.1  # far below the vocabulary
    prompts = prompts_of(bundle)
    folded = fold(bundle, prompts[:8])
    with torch.inference_mode():
        for ids in prompts[8:]:
            logits_V = folded.language_model(torch.tensor([ids])).logits[0, -1]
            assert set(logits_V.topk(2).indices.tolist()) == set(folded.record.class_ids)


@pytest.mark.parametrize("is_tied", [False, True])
def test_everything_else_is_said_as_before(is_tied: bool, tmp_path: Path) -> None:
    bundle = made(tmp_path, "llama", is_tied=is_tied)
    prompts = prompts_of(bundle)
    with torch.inference_mode():
        before = [bundle.model.language_model(torch.tensor([ids])).logits[0] for ids in prompts]
        folded = fold(bundle, prompts)
        rest = [index for index in range(before[0].shape[-1]) if index not in folded.record.class_ids]
        for ids, logits_LV in zip(prompts, before, strict=True):
            assert torch.equal(folded.language_model(torch.tensor([ids])).logits[0][:, rest], logits_LV[:, rest])


def test_class_ids_are_used_by_nothing_else(tmp_path: Path) -> None:
    bundle = made(tmp_path, "llama")
    record = fold(bundle, prompts_of(bundle)).record
    ours = set(record.class_ids)
    names = " ".join(record.class_tokens)
    assert all(not ours & set(bundle.renderer.prompt(names + row.document, names).ids) for row in ROWS)
    assert not ours & {bundle.pad_id, bundle.renderer.template.end_id}
    for mode in ("free", "decision"):
        assert not ours & set(bundle.renderer.target(names, "rain", mode) or [])


def test_rows_that_pad_the_vocabulary_carry_the_classes_where_no_id_is_reserved(tmp_path: Path) -> None:
    tokenizer = tiny.gpt2_tokenizer([row.document for row in ROWS])
    model = tiny.backbone("llama", len(tokenizer) + 9)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "base")
    bundle = tiny.bundle_of(tiny.dual(tmp_path / "base", tuning="full"))
    native, prompts, num_known = Classifier(bundle).predict_proba(ROWS), prompts_of(bundle), len(bundle.tokenizer)
    folded = fold(bundle, prompts)
    assert folded.record.class_ids == (num_known, num_known + 1)
    assert folded.record.class_tokens == ("<|class_0|>", "<|class_1|>")
    found = class_logits(folded.language_model, folded.record, prompts)
    assert np.abs(folded.record.calibrator.probs(found) - native).max() < 1e-5
    folded.tokenizer.save_pretrained(tmp_path / "saved")
    folded.record.save(tmp_path / "saved")
    record = FoldedRecord.load(tmp_path / "saved")
    assert record == folded.record
    Renderer(record.template, folded.tokenizer).check_golden()


def test_logits_that_are_divided_on_their_way_out(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer("llama")
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    torch.manual_seed(5)
    model = GraniteForCausalLM(
        GraniteConfig(vocab_size=len(tokenizer), num_key_value_heads=2, logits_scaling=4.0, **shape, **ids)
    )
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "base")
    bundle = tiny.bundle_of(tiny.dual(tmp_path / "base", tuning="full"))
    native, prompts = Classifier(bundle).predict_proba(ROWS), prompts_of(bundle)
    folded = fold(bundle, prompts)
    found = class_logits(folded.language_model, folded.record, prompts)
    assert np.abs(folded.record.calibrator.probs(found) - native).max() < 1e-5


def test_what_can_not_be_folded_says_why(tmp_path: Path) -> None:
    bundle = made(tmp_path, "llama")
    prompts = prompts_of(bundle)
    knots = (Knots((0.0, 1.0), (0.1, 0.9)),) * 2
    with pytest.raises(ConfigError, match="isotonic curves are no weights"):
        fold(replace(bundle, calibrator=replace(bundle.calibrator, method="isotonic", knots=knots)), prompts)
    bundle.model.language_model.is_quantized = True
    with pytest.raises(ConfigError, match="in 4 bits"):
        fold(bundle, prompts)
    for family, tuning, error, message in (
        ("llama", "activated", ConfigError, "activated"),
        ("gemma", "full", ModelError, "squeezes them into"),
        ("gpt2", "full", ModelError, "0 reserved ones and 0 rows of padding"),
    ):
        other = made(tmp_path / family / tuning, family, tuning=tuning)
        with pytest.raises(error, match=message):
            fold(other, prompts_of(other))


def test_states_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    bundle = made(tmp_path, "llama", tuning="lora")  # a random adapter throws them in all directions
    with pytest.raises(ModelError, match="a direction in common"):
        fold(bundle, prompts_of(bundle))
