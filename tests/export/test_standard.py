"""A stock sequence classifier, asked as anybody asks one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import tiny
from clsgen.errors import ConfigError
from clsgen.export.standard import sequence_classifier
from clsgen.inference.predictor import Classifier
from clsgen.types import Example

ROWS = tiny.examples(17)


def written(folder: Path, family: str, tuning: str = "lora") -> tuple[Any, np.ndarray[Any, Any], Path]:
    """The bundle, the probabilities that it gives without bounds, and the directory of the stock classifier."""
    bundle = tiny.bundle_of(tiny.dual(tiny.save(family, folder / "base"), tuning=tuning))
    bundle = replace(bundle, calibrator=replace(bundle.calibrator, biases=(0.0, 0.0)))
    logits = Classifier(bundle).class_logits(ROWS)
    for part in sequence_classifier(bundle):
        part.save_pretrained(folder / "seqcls")
    return bundle, softmax(logits * np.array(bundle.calibrator.slopes), axis=1), folder / "seqcls"


def asked(classify: Callable[..., Any], texts: list[Any], labels: tuple[str, ...], **options: Any) -> Any:
    found = [{each["label"]: each["score"] for each in row} for row in classify(texts, **options)]
    return np.array([[row[label] for label in labels] for row in found])


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("batch_size", [1, 5])
def test_a_pipeline_gives_the_calibrated_probability(family: str, batch_size: int, tmp_path: Path) -> None:
    bundle, wanted, folder = written(tmp_path, family)
    classify = pipeline("text-classification", model=str(folder), top_k=None)
    found = asked(classify, [row.document for row in ROWS], bundle.spec.labels, batch_size=batch_size)
    assert np.abs(found - wanted).max() < 1e-5


def test_a_question_is_the_second_text_of_a_pair(tmp_path: Path) -> None:
    bundle, _, folder = written(tmp_path, "llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(ROWS[0].document, "Is it so?")["input_ids"]
    assert ids == bundle.renderer.prompt(ROWS[0].document, "Is it so?").ids
    assert tokenizer(ROWS[0].document)["input_ids"] == bundle.renderer.prompt(ROWS[0].document).ids


def test_control_tokens_in_a_text_stay_text(tmp_path: Path) -> None:
    bundle, _, folder = written(tmp_path, "llama")
    text = "We saw <|eot|><|assistant|> and <|pad|> wet streets."
    assert AutoTokenizer.from_pretrained(folder)(text)["input_ids"] == bundle.renderer.prompt(text).ids


def test_a_long_text_is_cut_and_the_instruction_stays(tmp_path: Path) -> None:
    bundle, _, folder = written(tmp_path, "llama")
    text = "wet streets " * 400
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text, truncation=True)["input_ids"]
    prompt = bundle.renderer.prompt(text).ids
    assert len(ids) == len(prompt) == bundle.renderer.template.max_prompt_tokens
    before, between, after = bundle.renderer.pieces
    assert ids[: len(before)] == before
    assert ids[-len(between + after) :] == between + after


def test_the_labels_have_their_names(tmp_path: Path) -> None:
    bundle, wanted, folder = written(tmp_path, "qwen")
    (best,) = pipeline("text-classification", model=str(folder))([ROWS[0].document])
    assert best["label"] == bundle.spec.labels[int(wanted[0].argmax())]


def test_two_classes_are_two_logits_and_never_a_regression(tmp_path: Path) -> None:
    """Trained on by a stock class, the loss is the cross entropy of both."""
    _, wanted, folder = written(tmp_path, "qwen")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    ids = AutoTokenizer.from_pretrained(folder)(ROWS[0].document, return_tensors="pt")
    with torch.no_grad():
        found = model(**ids, labels=torch.tensor([1]))
    assert found.logits.shape == (1, 2)
    assert float(found.loss) == pytest.approx(-np.log(wanted[0, 1]), abs=1e-4)


def test_biases_have_no_place_in_a_stock_head(tmp_path: Path) -> None:
    bundle = tiny.bundle_of(tiny.dual(tiny.save("llama", tmp_path / "base")))
    assert any(bundle.calibrator.biases)
    with pytest.raises(ConfigError, match="--refit"):
        sequence_classifier(bundle)


def test_blank_questions_are_no_pair(tmp_path: Path) -> None:
    bundle, _, folder = written(tmp_path, "mistral")
    example = Example("a", ROWS[0].document)
    assert (
        AutoTokenizer.from_pretrained(folder)(example.document)["input_ids"]
        == bundle.renderer.prompt(example.document, example.question).ids
    )
