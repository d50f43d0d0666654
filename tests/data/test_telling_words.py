"""A planted outcome is found; ordinary words are not."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.stats import binomtest

from clsgen.data.telling_words import TellingWord, telling_words, wilson_lower
from clsgen.data.words import word_ids


def _documents(labels: list[str], seed: int = 0, num_words: int = 60) -> list[str]:
    """Words by Zipf's law, some of them three times as common under "yes"."""
    draw = random.Random(seed)
    vocabulary = [f"w{rank}" for rank in range(800)]
    plain = [1 / (rank + 1) for rank in range(800)]
    tilted = [weight * (3 if rank % 7 == 0 else 1) for rank, weight in enumerate(plain)]
    return [" ".join(draw.choices(vocabulary, tilted if label == "yes" else plain, k=num_words)) for label in labels]


def _labels(num_yes: int, num_no: int) -> list[str]:
    return random.Random(7).sample(["yes"] * num_yes + ["no"] * num_no, num_yes + num_no)


def test_wilson_lower_agrees_with_scipy() -> None:
    hits, trials = np.array([0, 5, 97, 100]), np.array([10, 10, 100, 100])
    expected = [binomtest(int(k), int(n)).proportion_ci(method="wilson").low for k, n in zip(hits, trials, strict=True)]
    assert wilson_lower(hits, trials) == pytest.approx(expected)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ordinary_documents_tell_nothing(seed: int) -> None:
    labels = _labels(300, 700)
    assert telling_words(word_ids(_documents(labels, seed)), labels) == ()


def test_a_planted_outcome_is_a_leak_and_its_pairs_are_not_repeated() -> None:
    labels = _labels(200, 400)
    draw = random.Random(0)
    planted = [label == "yes" and draw.random() < 0.4 for label in labels]
    documents = [
        text + (" patient EXPIRED today" if is_planted else " patient left today")
        for text, is_planted in zip(_documents(labels), planted, strict=True)
    ]
    (word,) = telling_words(word_ids(documents), labels)
    num = sum(planted)
    assert word == TellingWord("expired", "yes", num, 1.0, word.lower_bound, pytest.approx(1 / 3), num / 200, True)
    assert word.lower_bound == pytest.approx(num / (num + 1.959964**2))


def test_a_pair_of_innocent_words_can_tell() -> None:
    labels = _labels(150, 150)
    documents = ["did not then survive" if label == "yes" else "then did survive not" for label in labels]
    found = telling_words(word_ids(documents), labels)
    assert {(word.text, word.label) for word in found} == {
        ("did not", "yes"), ("not then", "yes"), ("then survive", "yes"),
        ("then did", "no"), ("did survive", "no"), ("survive not", "no"),
    }  # fmt: skip
    assert all(word.is_leak for word in found)


def test_few_documents_warn_and_too_few_are_passed_over() -> None:
    labels = ["yes"] * 100 + ["no"] * 100
    documents = _documents(labels)
    for number in range(20):
        documents[number] += " twenty"
    for number in range(9):
        documents[number] += " nine"
    (word,) = telling_words(word_ids(documents), labels)
    assert (word.text, word.num_documents, word.is_leak) == ("twenty", 20, False)


def test_a_word_of_a_label_that_is_the_rule_is_no_leak() -> None:
    labels = ["no"] * 1900 + ["yes"] * 100
    documents = ["home " + str(n % 50) if n < 1000 else str(n % 50) for n in range(2000)]
    found = {word.text: word for word in telling_words(word_ids(documents), labels)}
    assert found["home"].base_share == 0.95
    assert not any(word.is_leak for word in found.values())


def test_one_class_or_no_document_tells_nothing() -> None:
    assert telling_words(word_ids(["a"] * 50), ["yes"] * 50) == ()
    assert telling_words(word_ids([]), []) == ()
    assert telling_words(word_ids(["", ""]), ["yes", "no"]) == ()
