from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from clsgen.config.data import DataSettings
from clsgen.data.teacher.extractive import MAX_QUOTE_WORDS, MAX_QUOTED_WORDS, ExtractiveTeacher, quotable
from clsgen.data.teacher.reading import features, replace_numbers
from clsgen.errors import DataError
from clsgen.tasks.clinifact import load
from clsgen.tasks.synthetic import generate_notes
from clsgen.types import Example, TaskSpec

SPEC = TaskSpec(name="t", labels=("works", "fails"), instruction="Decide.")
FILLER = ("We asked many people about it.", "The study was done in spring.", "All of them gave consent first.")
CARRIER = {
    "works": "RESULTS: Drug {n} lowered the pain more than placebo (p < 0.001).",
    "fails": "RESULTS: Drug {n} was not better than the placebo (p = 0.62).",
}


def example(number: int) -> Example:
    label = SPEC.labels[number % 2]
    sentences = [*FILLER[: 1 + number % 3], CARRIER[label].format(n=number), *FILLER[1 + number % 3 :]]
    return Example(id=f"e{number}", document=" ".join(sentences), label=label, question="Does the drug lower pain?")


@pytest.fixture(scope="module")
def teacher() -> ExtractiveTeacher:
    return ExtractiveTeacher.fit([example(number) for number in range(40)], SPEC)


def test_the_sentence_that_carries_the_label_is_quoted(teacher: ExtractiveTeacher) -> None:
    rows, counts = teacher.apply([example(number) for number in range(60)])
    assert counts == {"column": 0, "extractive": 60, "unlabelled": 0, "no_sentence": 0}
    for number, row in enumerate(rows):
        carrier = CARRIER[row.label or ""].format(n=number).removeprefix("RESULTS: ").removesuffix(".")
        assert row.explanation == f'The text states: "{carrier}".'
        assert row.metadata["explanation_source"] == "extractive"


def test_the_explanation_does_not_state_the_label(teacher: ExtractiveTeacher) -> None:
    assert not any(label in (teacher.explain(example(number)) or "") for number in range(4) for label in SPEC.labels)


def test_sentences_that_carry_nearly_as_much_are_quoted_too_in_their_order() -> None:
    """Two findings of equal weight, far apart; a row with one of them quotes one."""
    good = ("The arm was swollen and red today", "The foot was swollen and red today")
    rows = []
    for number in range(60):
        is_ill = number % 3 > 0
        signs = (
            (good[0], good[1]) if is_ill else ("The arm was plain and pale today", "The foot was plain and pale today")
        )
        document = f"{signs[0]}. {FILLER[number // 3 % 3]} {signs[1]}. {FILLER[(number // 3 + 1) % 3]}"
        rows.append(Example(f"n{number}", document, label=SPEC.labels[is_ill]))
    teacher = ExtractiveTeacher.fit(rows, SPEC)
    assert teacher.choose(rows[1]) == list(good)
    assert teacher.explain(rows[1]) == f'The text states: "{good[0]}" and "{good[1]}".'
    alone = replace(rows[1], document=f"{good[0]}. {FILLER[0]}")
    assert teacher.choose(alone) == [good[0]]
    long = replace(rows[1], document=" ".join(f"{sign} {'and on ' * 15}." for sign in (*good, *good)))
    assert sum(len(quote.split()) for quote in teacher.choose(long)) <= MAX_QUOTED_WORDS


def test_an_explanation_that_is_there_is_kept(teacher: ExtractiveTeacher) -> None:
    written = replace(example(0), explanation="By hand.", metadata={"note": 1})
    (row,), counts = teacher.apply([written])
    assert (row.explanation, row.metadata) == ("By hand.", {"note": 1, "explanation_source": "column"})
    assert counts["column"] == 1
    assert written.metadata == {"note": 1}


def test_rows_that_can_not_be_explained_are_counted(teacher: ExtractiveTeacher) -> None:
    unlabelled = replace(example(0), label=None)
    unquotable = replace(example(1), document="Too short.")
    unknown_words = replace(example(1), document="Zzz yyy xxx www vvv.")
    rows, counts = teacher.apply([unlabelled, unquotable, unknown_words])
    assert rows == [unlabelled, unquotable, unknown_words]
    assert counts == {"column": 0, "extractive": 0, "unlabelled": 1, "no_sentence": 2}


def test_metadata_is_never_read(teacher: ExtractiveTeacher) -> None:
    rows = [example(number) for number in range(40)]
    told = [replace(row, metadata={"p_values": "0.001", "answer": row.label}) for row in rows]
    assert [ExtractiveTeacher.fit(told, SPEC).choose(row) for row in told] == [teacher.choose(row) for row in rows]


def test_a_label_outside_the_task_is_refused(teacher: ExtractiveTeacher) -> None:
    stray = replace(example(0), label="maybe")
    with pytest.raises(DataError, match=r"label of row 'e0' must be one of \['works', 'fails'\]; got 'maybe'"):
        teacher.choose(stray)
    with pytest.raises(DataError, match=r"label of row 'e0' must be one of"):
        ExtractiveTeacher.fit([stray, example(1)], SPEC)


def test_a_label_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match=r"train rows must hold every label; got none of \['fails'\]"):
        ExtractiveTeacher.fit([example(0), example(2), replace(example(1), label=None)], SPEC)


def test_quotes_are_verbatim_and_of_a_length_to_read() -> None:
    long = " ".join(f"word{number}," if number % 10 == 0 else f"word{number}" for number in range(1, 101)) + "."
    document = f'AIM: To see it work well. He said "it works for everybody here". No. {long}'
    quotes, sentences = quotable(document)
    assert quotes[0] == "To see it work well"
    assert sentences[0] == "AIM: To see it work well."
    assert len(quotes) == 4
    assert all(quote in document and 5 <= len(quote.split()) <= MAX_QUOTE_WORDS for quote in quotes)
    assert not any('"' in quote for quote in quotes)


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ("P=0.05", "p_small"),
        ("p < .001", "p_small"),
        ("p-value = 0.2", "p_large"),
        ("p value of <0·01", "p_small"),
        ("P≥0.04", "p_large"),
        ("0.5 and 12 and 1,300.7 and 000", "num0 and num1_2 and num1_4 and num0"),
    ],
)
def test_numbers_keep_what_they_say(text: str, replaced: str) -> None:
    assert replace_numbers(text) == replaced


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Lactate of 8.2 and albumin 2.6", {"lactate_is_num8_1", "albumin_is_num2_1"}),
        ("Denies chest pain, but has a fever", {"not_chest", "not_pain"}),
        ("no no", {"not_no"}),
        ("120 vs 130", set()),
        (
            "without any of the many signs that one would fear",
            {f"not_{w}" for w in ["any", "of", "the", "many", "signs", "that"]},
        ),
    ],
)
def test_numbers_are_tied_to_what_they_measure_and_negated_words_are_marked(text: str, found: set[str]) -> None:
    extra = set(features(text).split(" . ")[1:])
    assert extra == found


def test_clinical_claims_are_explained_from_the_abstract(shared_data: Path) -> None:
    data = load(DataSettings(task="clinifact", root=str(shared_data)))
    rows = data.train[:500]
    explained, counts = ExtractiveTeacher.fit(rows, data.spec).apply(rows)
    assert counts["extractive"] > 0.95 * len(rows)
    for row in explained:
        if row.explanation is not None:
            quotes = row.explanation.split('"')[1::2]
            assert quotes
            assert all(quote in row.document for quote in quotes)


def test_causes_of_death_are_found_in_notes() -> None:
    notes = [replace(note, explanation=None) for note in generate_notes(400, length="short", prevalence=0.3, seed=0)]
    spec = TaskSpec(name="notes", labels=("survived", "died"), instruction="Decide.")
    explained, counts = ExtractiveTeacher.fit(notes, spec).apply(notes)
    assert counts["extractive"] == len(notes)

    def holds_cause(note: Example, quote: str) -> bool:
        return any(cause["fact"].lower() in quote.lower() for cause in note.metadata["causes"])

    found: Counter[str] = Counter()
    for note in explained:
        if note.label == "died":
            quotes = quotable(note.document).quotes
            found["chosen"] += holds_cause(note, note.explanation or "")
            found["random"] += sum(holds_cause(note, quote) for quote in quotes) / len(quotes)
    assert found["chosen"] > 2 * found["random"]
