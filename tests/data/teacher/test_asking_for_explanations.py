"""Prompts, requests and answers: what is sent, under which key, and what is read out of what comes back."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from clsgen.data.teacher.answers import Answer, read_answer
from clsgen.data.teacher.asks import ROUNDS, Asking, Round
from clsgen.data.teacher.prompts import BUILT_IN, load_prompts, write_prompts
from clsgen.errors import ConfigError
from clsgen.types import Example, TaskSpec

SPEC = TaskSpec("falls", ("no", "yes"), "Did the patient fall?", "yes")
ROW = Example("r1", "She walks unsteadily. Cost: $5 {net}.", question="On day 3?", label="yes")
ASKING = Asking(SPEC, load_prompts(None), "m", num_samples=2, temperature=0.7, top_p=0.9, max_tokens=64, seed=5)


def text(ask) -> str:
    return "\n".join(content for _, content in ask.request.messages)


def test_a_blind_prompt_holds_the_text_and_all_labels_alike_and_does_not_depend_on_the_rows_label() -> None:
    first, second = ASKING.asks(ROW, Round("blind"))
    assert ROW.document in text(first)
    assert "Did the patient fall?\nOn day 3?" in text(first)
    assert "no, yes" in text(first)
    other = next(ASKING.asks(replace(ROW, label="no"), Round("blind")))
    assert (first.request, first.key) == (other.request, other.key)
    assert (first.request.seed, second.request.seed) == (5, 6)
    assert first.key != second.key
    assert first.label is None
    assert first.request.schema is not None
    assert first.request.schema["properties"]["answer"]["enum"] == ["no", "yes"]


def test_a_hint_tells_the_rows_label_and_both_sides_tell_each() -> None:
    (hinted, _) = ASKING.asks(ROW, Round("hinted"))
    assert "The right answer is: yes" in text(hinted)
    assert hinted.label == "yes"
    argued = list(ASKING.asks(ROW, Round("argue", is_for_each_label=True)))
    assert [(ask.label, ask.sample) for ask in argued] == [("no", 0), ("no", 1), ("yes", 0), ("yes", 1)]
    assert "Argue that the answer is: no" in text(argued[0])


def test_strategies_ask_as_they_are_named() -> None:
    assert [round_.kind for round_ in ROUNDS["blind_then_hinted"]] == ["blind", "hinted"]
    assert [round_.is_for_open_rows for round_ in ROUNDS["blind_then_hinted"]] == [False, True]
    assert ROUNDS["human"] == ()


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKING, model="n"),
        replace(ASKING, temperature=0.8),
        replace(ASKING, top_p=0.8),
        replace(ASKING, max_tokens=65),
        replace(ASKING, seed=9),
        replace(ASKING, extra={"a": 1}),
        replace(ASKING, spec=replace(SPEC, instruction="Fell?")),
    ],
    ids=["model", "temperature", "top_p", "max_tokens", "seed", "extra", "instruction"],
)
def test_whatever_an_answer_depends_on_is_part_of_the_key(other: Asking) -> None:
    keys = {ask.key for ask in ASKING.asks(ROW, Round("blind"))}
    assert not keys & {ask.key for ask in other.asks(ROW, Round("blind"))}
    assert keys == {ask.key for ask in ASKING.asks(ROW, Round("blind"))}
    assert not keys & {ask.key for ask in ASKING.asks(replace(ROW, document="Another."), Round("blind"))}


def test_a_row_is_known_by_its_texts_not_by_its_number_and_copies_are_told_apart() -> None:
    keys = [ask.key for ask in ASKING.asks(ROW, Round("blind"))]
    moved = replace(ROW, id="r2")
    assert keys == [ask.key for ask in ASKING.asks(moved, Round("blind"))]
    assert not set(keys) & {ask.key for ask in replace(ASKING, copies={"r2": 1}).asks(moved, Round("blind"))}


def test_prompts_are_files_that_can_be_edited_and_their_hash_follows(tmp_path: Path) -> None:
    write_prompts(tmp_path / "mine")
    same = load_prompts(tmp_path / "mine")
    assert same.hash == load_prompts(None).hash
    (tmp_path / "mine" / "blind.txt").write_text("[system]\n\n[user]\nRead: $document\nOne of $labels, price $$5.")
    edited = load_prompts(tmp_path / "mine")
    assert edited.hash != same.hash
    ask = next(replace(ASKING, prompts=edited).asks(ROW, Round("blind")))
    assert ask.request.messages == (("user", f"Read: {ROW.document}\nOne of no, yes, price $5."),)
    with pytest.raises(ConfigError, match="must be a new file; it exists"):
        write_prompts(tmp_path / "mine")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("blind", "no parts", r"must have a line \[system\]"),
        ("blind", "[system]\n[user]\n$document $labell", r"must be one of \$document, .*got \['labell'\]"),
        ("blind", "[system]\n[user]\n$document costs $5", "a lone"),
        ("blind", "[system]\n[user]\n$document is $label", r"must not tell \$label"),
        ("hinted", "[system]\n[user]\n$document", r"must hold \$document and \$label"),
        ("argue", "[system]\n[user]\n$label", r"must hold \$document and \$label"),
    ],
)
def test_a_prompt_that_can_not_work_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    write_prompts(tmp_path / "mine")
    (tmp_path / "mine" / f"{name}.txt").write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_prompts(tmp_path / "mine")


def test_a_missing_prompt_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"blind\.txt must be readable text"):
        load_prompts(tmp_path)
    assert sorted(path.stem for path in BUILT_IN.glob("*.txt")) == ["argue", "blind", "hinted"]


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (json.dumps({"reason": "It is so.", "answer": "yes"}), Answer("It is so.", "yes")),
        ('Sure!\n```json\n{"reason": "a\\nb", "answer": "YES."}\n```\nDone.', Answer("a b", "yes")),
        ('I weigh {this}. {"reason": "So.", "answer": "no"} there', Answer("So.", "no")),
        ('{"reason": "draft", "answer": "no"}\n', Answer("draft", "no")),
        ('{"reason": "It is so.", "answer": true}', Answer("It is so.", None)),
        ('{"reason": "It is so."}', Answer("It is so.", None)),
        ('{"reason": 3, "answer": "no"}', Answer("", "no")),
        ('{"answer": "no"}', Answer("", None)),
        ("**Reason:** It is so.\n**Answer:** **Yes**", Answer("It is so.", "yes")),
        ("reason: it is so. answer: no.", Answer("it is so.", "no")),
        ('{"reason": "cut', Answer("", None)),
        ("", Answer("", None)),
        ("[1, 2]", Answer("", None)),
    ],
)
def test_answers_are_read_and_never_guessed(content: str, answer: Answer) -> None:
    assert read_answer(content, ("no", "yes")) == answer


def test_labels_that_differ_in_letter_case_alone_are_not_guessed() -> None:
    assert read_answer('{"reason": "a", "answer": "*A*"}', ("a", "A")).label is None
    assert read_answer('{"reason": "a", "answer": "A"}', ("a", "A")).label == "A"
    assert read_answer('{"reason": "a", "answer": true}', ("TRUE", "FALSE")).label == "TRUE"


@pytest.mark.parametrize(
    ("answer", "label"), [("no.", "no."), ("no", "no."), ("**", None), ('said "no"', 'said "no"'), (" yes. ", "yes.")]
)
def test_labels_with_marks_of_their_own_are_recognised(answer: str, label: str | None) -> None:
    content = json.dumps({"reason": "a", "answer": answer})
    assert read_answer(content, ("no.", "yes.", 'said "no"')).label == label


@pytest.mark.parametrize("answer", ["null", '["no"]', '{"a": 1}', "NaN"])
def test_an_answer_that_is_no_word_is_no_label_even_where_a_label_is_called_none(answer: str) -> None:
    labels = ("NONE", "nan", "['no']")
    assert read_answer(f'{{"reason": "a", "answer": {answer}}}', labels).label in (None, "nan")
    assert read_answer('{"reason": "a"}', labels).label is None


def test_numbers_are_labels_as_they_are_written() -> None:
    assert read_answer('{"reason": "a", "answer": 1}', ("0", "1")).label == "1"


def test_the_last_object_counts_and_line_breaks_in_strings_are_read() -> None:
    two = '{"reason": "a", "answer": "no"} no, rather {"reason": "b", "answer": "yes"}'
    assert read_answer(two, ("no", "yes")) == ("b", "yes")
    assert read_answer('{"reason": "a\nb", "answer": "no"}', ("no", "yes")) == ("a b", "no")


@pytest.mark.parametrize(
    "content",
    ['{"a":' * 8_000, "{" * 300_000, "reason: a " * 60_000, '{"reason": "\\ud83d", "answer": "no"}' * 1_000],
    ids=["deep", "braces", "reasons", "long"],
)
def test_a_hostile_answer_takes_no_time_and_no_memory(content: str) -> None:
    started = time.perf_counter()
    read_answer(content, ("no", "yes"))
    assert time.perf_counter() - started < 2


def test_half_a_surrogate_pair_becomes_a_mark() -> None:
    found = read_answer('{"reason": "so it is \\ud83d", "answer": "no"}', ("no", "yes"))
    assert found.reason == "so it is \ufffd"
    found.reason.encode()
