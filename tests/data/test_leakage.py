"""The audit of a whole split: clean data pass, every kind of leak is found."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from clsgen.config.data import ColumnSettings, SplitSettings
from clsgen.data.leakage import audit
from clsgen.data.source import read_examples
from clsgen.data.split import Split, split_roles
from clsgen.types import ROLES, Example, Role, TaskData, TaskSpec

SPEC = TaskSpec("t", ("no", "yes"), "Say which.", "yes")


def _text(draw: random.Random, num_words: int = 40) -> str:
    return " ".join(f"w{int(600 * draw.random() ** 3)}" for _ in range(num_words))


def _rows(num_rows: int = 600, prefix: str = "r", seed: int = 0) -> tuple[Example, ...]:
    draw = random.Random(seed)
    return tuple(
        Example(f"{prefix}{n}", _text(draw), label="yes" if draw.random() < 0.3 else "no", explanation="So.")
        for n in range(num_rows)
    )


def test_ordinary_data_have_no_leaks() -> None:
    split = split_roles(TaskData(SPEC, _rows()), SplitSettings())
    report = audit(split)
    assert not report.has_leaks
    assert report.leaks == report.shared_groups == report.shared_documents == report.telling_words == ()


def test_the_summary_counts_rows_groups_labels_and_words() -> None:
    rows = (
        Example("a", "one two", label="no", groups=("k:1",)),
        Example("b", "one two three four", label="yes", groups=("k:1",), explanation="So."),
        Example("c", "x " * 10, explanation="One two three four are x x x, so."),
    )
    roles: dict[Role, tuple[Example, ...]] = {"train": rows, "validation": (), "calibration": (), "test": ()}
    train, validation, *_ = audit(Split(roles, {"a": "g0", "b": "g0", "c": "g1"}, {})).summaries
    assert (train.num_rows, train.num_groups, train.num_explanations, train.num_readable) == (3, 2, 2, 1)
    assert train.label_counts == {"no": 1, "yes": 1}
    # Lengths 2, 4, 10: the 95th percentile lies nine tenths of the way from 4 to 10.
    assert (train.median_words, train.p95_words, train.max_words) == (4, pytest.approx(9.4), 10)
    assert (validation.num_rows, validation.median_words, validation.max_words) == (0, 0, 0)


def test_shared_groups_and_copied_documents_of_a_published_split_are_leaks() -> None:
    train = _rows()
    copies = tuple(replace(row, id=f"t{n}", document=row.document.upper()) for n, row in enumerate(train[:10]))
    split = split_roles(TaskData(SPEC, train, (*copies, *_rows(40, "u", seed=9))), SplitSettings())
    report = audit(split)
    assert report.leaks == (
        "10 test rows lie in 10 components that train has rows of.",
        "10 test documents are also in train, and 0 nearly so.",
    )


@pytest.mark.parametrize(("num_near", "has_leaks"), [(1, False), (3, True)])
def test_near_duplicates_are_leaks_from_one_percent(num_near: int, has_leaks: bool) -> None:
    train = _rows(1200)
    near = tuple(
        replace(row, id=f"t{n}", document=row.document.rsplit(" ", 1)[0] + " changed")
        for n, row in enumerate(train[:num_near])
    )
    split = split_roles(TaskData(SPEC, train, (*near, *_rows(197, "u", seed=9))), SplitSettings())
    report = audit(split)
    assert sum(each.num_near for each in report.shared_documents if each.second == "test") == num_near
    assert report.has_leaks == has_leaks
    # 36 runs of five words each, 35 of them shared.
    found = [pair for each in report.shared_documents for pair in each.near_pairs]
    assert [jaccard for _, _, jaccard in found] == pytest.approx([35 / 37] * num_near)
    assert {(first[1:], second[1:]) for first, second, _ in found} == {(str(n), str(n)) for n in range(num_near)}


def test_a_planted_outcome_word_is_a_leak_and_the_question_is_not_looked_at() -> None:
    draw = random.Random(3)
    rows = tuple(
        replace(
            row,
            document=f"{row.document} expired" if row.label == "yes" and draw.random() < 0.5 else row.document,
            question=f"the answer is {row.label}",
        )
        for row in _rows()
    )
    report = audit(split_roles(TaskData(SPEC, rows), SplitSettings()))
    assert [(word.text, word.label, word.is_leak) for word in report.telling_words] == [("expired", "yes", True)]
    assert len(report.leaks) == 1
    assert "gives that label away" in report.leaks[0]
    assert "expired" not in report.leaks[0]


def test_a_word_of_one_patient_with_many_notes_is_not_an_outcome() -> None:
    many = tuple(
        Example(f"p{n}", f"{_text(random.Random(n))} mrsmith", label="yes", groups=("patient:1",)) for n in range(60)
    )
    report = audit(split_roles(TaskData(SPEC, (*_rows(), *many)), SplitSettings()))
    assert report.telling_words == ()


@pytest.mark.parametrize(
    ("folder", "text", "group"),
    [
        ("esnli", "premise", ()),
        ("pubmedqa", "context", ("pmid",)),
        ("evidence_inference", "abstract", ("pmcid",)),
        ("comve", "text", ()),
    ],
)
def test_real_data_without_known_leaks_pass(shared_data: Path, folder: str, text: str, group: tuple[str, ...]) -> None:
    columns = ColumnSettings(text=(text,), group=group, id="id")
    train, test = (
        read_examples(str(shared_data / folder / f"{name}.jsonl.gz"), columns) for name in ("train", "validation")
    )
    labels = tuple(sorted({str(row.label) for row in train.examples}))
    data = TaskData(TaskSpec(folder, labels, "Say which."), train.examples, test.examples)
    assert audit(split_roles(data, SplitSettings())).leaks == ()


def test_clinifact_grouped_folds_pass_and_the_published_split_does_not(shared_data: Path) -> None:
    columns = ColumnSettings(text=("abstract",), question="claim", group=("nct_id", "pmid"), id="id")
    train, test = (
        read_examples(str(shared_data / "clinifact" / f"{name}.jsonl.gz"), columns).examples
        for name in ("train", "validation")
    )
    data = TaskData(TaskSpec("clinifact", ("TRUE", "FALSE", "NONE"), "Say which."), train, test)
    published = audit(split_roles(data, SplitSettings()))
    assert [(each.first, each.second) for each in published.shared_groups] == [("train", "test")]
    assert published.shared_groups[0].num_second_rows / len(test) == pytest.approx(0.61, abs=0.005)
    assert not any(word.is_leak for word in published.telling_words)
    assert not audit(split_roles(data, SplitSettings(num_folds=5))).has_leaks


@pytest.mark.slow
def test_ten_thousand_notes_take_seconds() -> None:
    draw = random.Random(0)
    rows = tuple(
        Example(f"r{n}", _text(draw, 400), label="yes" if draw.random() < 0.3 else "no") for n in range(10_000)
    )
    split = split_roles(TaskData(SPEC, rows), SplitSettings())
    start = time.process_time()
    report = audit(split)
    assert time.process_time() - start < 30
    assert sum(each.num_rows for each in report.summaries) == 10_000
    assert len(report.summaries) == len(ROLES)
