from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsgen.data.sentences import Span, clip_span, sentence_spans, split_sentences
from clsgen.data.source import read_rows


@pytest.mark.parametrize(
    "sentences",
    [
        ["Pain fell (p = 0.05).", "No harm was seen."],
        ["It was 12.5 vs. 14.1 points, e.g. Week 4 (P<.001).", "Was it safe?", "Yes!"],
        ["Smith et al. (2003) gave 5 mg i.v. for pain.", "The U.S. Food agency approved it."],
        ["Patients had vitamin D.", "The others were in group B.", "They did well."],
        ["The study by J. Smith ended early."],
        ["See Fig. 2 and no. 4.", "(All were treated.)", "90% lived."],
        ["He called it 'safe.'", "Nobody else did."],
    ],
)
def test_sentences_end_where_a_reader_ends_them(sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences)) == tuple(sentences)


@pytest.mark.parametrize("line_break", ["\n", "\n\n", " <cr> ", " <cr> <cr> "])
def test_a_line_break_ends_a_sentence(line_break: str) -> None:
    assert split_sentences(f"History:{line_break}No fever{line_break}Chills") == ("History:", "No fever", "Chills")


def test_a_hard_wrap_does_not_end_a_sentence() -> None:
    assert split_sentences("She was sent\nhome. Well.") == ("She was sent\nhome.", "Well.")


def test_any_white_space_may_stand_between_sentences() -> None:
    assert split_sentences(f"It fell.{' ' * 40}It rose.") == ("It fell.", "It rose.")


def test_there_are_no_sentences_in_white_space() -> None:
    assert sentence_spans(" \n ") == ()


@given(st.text(alphabet="Ab 1.,!?\n()\"'", max_size=60))
def test_spans_are_in_order_and_leave_nothing_but_white_space(text: str) -> None:
    spans = sentence_spans(text)
    assert all(first.end <= second.start for first, second in pairwise(spans))
    assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())


def test_a_long_span_is_cut_at_clause_ends_outside_parentheses() -> None:
    text = "one (two, three), four five six seven, eight"
    pieces = clip_span(text, Span(0, len(text)), 5)
    assert [text[start:end] for start, end in pieces] == ["one (two, three),", "four five six seven, eight"]


@given(st.lists(st.sampled_from(["a", "b,", "c;", "(d", "e)"]), min_size=1, max_size=30), st.integers(1, 6))
def test_pieces_hold_every_word_and_no_more_than_asked(words: list[str], max_words: int) -> None:
    text = " ".join(words)
    pieces = [text[start:end].split() for start, end in clip_span(text, Span(0, len(text)), max_words)]
    assert [word for piece in pieces for word in piece] == words
    assert all(1 <= len(piece) <= max_words for piece in pieces)


def test_abstracts_are_covered_whole(shared_data: Path) -> None:
    rows = [row for _, row in read_rows(str(shared_data / "clinifact" / "validation.jsonl.gz"))]
    assert rows
    for row in rows:
        abstract = row["abstract"] or ""
        assert "".join("".join(split_sentences(abstract)).split()) == "".join(abstract.split())
