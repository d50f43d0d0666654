"""Likeness to a reference, worked by hand and against sacrebleu itself; the blind reader."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clsgen.baselines.reader import recovered_labels
from clsgen.errors import ConfigError
from clsgen.evaluation import similarity
from clsgen.evaluation.evaluate import Context, evaluate
from clsgen.types import Example
from results import BINARY, SETTINGS, rows_of


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("a b c", "a b c", 1.0),
        ("a b c", "c b a", 1 / 3),  # one word in order
        ("a b", "a x b y", 2 * 2 / 6),
        ("A, b!", "a b", 1.0),  # case and punctuation aside
        ("a b", "c d", 0.0),
        ("", "a", 0.0),
        ("a a a a", "a", 2 * 1 / 5),  # a word counts once
    ],
)
def test_rouge_l_worked_by_hand(text, reference, expected):
    assert similarity.rouge_l(text, reference) == pytest.approx(expected)
    assert similarity.rouge_l(reference, text) == pytest.approx(expected)


def test_likeness_is_the_mean_over_rows_that_have_a_reference():
    from sacrebleu import sentence_chrf

    predictions, _ = rows_of(BINARY)
    references = {row.id: "The note says that she went home." for row in predictions[::3]}
    found = evaluate(predictions, BINARY, settings=SETTINGS, context=Context(references=references))["explanations"]
    texts = [row.explanation for row in predictions[::3]]
    wanted = [
        sentence_chrf(text, [references[row.id]]).score for text, row in zip(texts, predictions[::3], strict=True)
    ]
    assert found["chrf"]["value"] == pytest.approx(np.mean(wanted))
    assert found["chrf"]["n"] == len(wanted)
    assert 0 < found["rouge_l"]["value"] < 1
    assert found["readability_reference"]["reason"] == "needs the vocabulary of the training documents"
    none = evaluate(predictions, BINARY, settings=SETTINGS)["explanations"]
    assert none["rouge_l"]["reason"] == "no row has a reference explanation"


def test_without_sacrebleu_chrf_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu.metrics.chrf", None)
    with pytest.raises(ConfigError, match=r"pip install 'clsgen\[text\]'"):
        similarity.chrf(["a"], ["b"])


def reasons(count: int, offset: int = 0) -> list[Example]:
    words = {"no": "walked out well and smiling", "yes": "was found dead with sepsis"}
    return [
        Example(
            f"r{offset + i}", "?", label=("no", "yes")[i % 2], explanation=f"Note {i}: {words[('no', 'yes')[i % 2]]}."
        )
        for i in range(count)
    ]


def test_the_reader_recovers_the_label_that_a_reason_argues_for():
    written = {"a": "He walked out smiling.", "b": "She was found dead with sepsis."}
    found = recovered_labels(reasons(60), reasons(20, 100), written, BINARY)
    assert found == {"a": "no", "b": "yes"}


def test_a_reader_needs_reasons_of_every_label():
    written = {"a": "He walked out."}
    assert recovered_labels(reasons(30), reasons(20, 100), written, BINARY) is None
    assert recovered_labels(reasons(60), reasons(1, 100), written, BINARY) is None
    bare = [replace(row, explanation=None) for row in reasons(60)]
    assert recovered_labels(bare, reasons(20, 100), written, BINARY) is None


def test_blind_agreement_is_with_the_decision():
    predictions, _ = rows_of(BINARY)
    recovered = {row.id: ("no" if i % 4 else "yes") for i, row in enumerate(predictions)}
    found = evaluate(predictions, BINARY, settings=SETTINGS, context=Context(recovered=recovered))["explanations"]
    expected = np.mean([recovered[row.id] == row.decision for row in predictions])
    assert found["blind_agreement"]["value"] == pytest.approx(expected)
    from sklearn.metrics import cohen_kappa_score

    kappa = cohen_kappa_score([recovered[row.id] for row in predictions], [row.decision for row in predictions])
    assert found["blind_kappa"]["value"] == pytest.approx(kappa)
