from __future__ import annotations

import numpy as np
import pytest

from clsgen.data.teacher.relevance import Relevance


def test_overlap_is_the_weighted_share_of_the_question() -> None:
    # Rows: 3. "drug" stands in 1 document, "placebo" in 3 (weight 0), "sleep" in none but 1 question.
    relevance = Relevance.fit(["drug placebo", "placebo", "placebo"], ["sleep placebo"])
    drug, sleep = np.log(4 / 2), np.log(4 / 2)
    assert relevance.overlap("drug placebo sleep", "The DRUG and placebo.") == pytest.approx(drug / (drug + sleep))


def test_words_cut_to_six_letters_are_the_same_word() -> None:
    relevance = Relevance(num_rows=9, frequencies={})
    assert relevance.overlap("improvement", "It improved.") == 1.0


def test_a_question_of_common_words_overlaps_with_nothing() -> None:
    relevance = Relevance.fit(["the drug", "the pill"], ["the", "the"])
    assert relevance.overlap("the", "the drug") == 0.0
    assert relevance.overlap("", "the drug") == 0.0


def test_without_a_question_sentences_weigh_the_same() -> None:
    relevance = Relevance(num_rows=9, frequencies={})
    assert relevance.weights("", ["Pain fell (p < 0.05).", "b"]).tolist() == [0.5, 0.5]


def test_a_sentence_that_states_a_result_weighs_as_half_a_question_more() -> None:
    relevance = Relevance(num_rows=9, frequencies={})
    first, second = relevance.weights("pain", ["It fell more than before.", "It was asked."])
    assert first / second == pytest.approx(np.e)
    assert first + second == pytest.approx(1.0)
