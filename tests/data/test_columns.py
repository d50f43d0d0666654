"""The column mapping, and the problems it reports all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsgen.config.data import ColumnSettings
from clsgen.data.columns import check_columns, map_rows
from clsgen.errors import DataError
from clsgen.types import Example

COLUMNS = ColumnSettings(
    text=("title", "body"), question="claim", label="label", explanation="why", group=("trial", "pmid"), id="key"
)
ROW = {
    "key": "k1", "title": " A title ", "body": "Body.", "claim": "Is it?", "label": "yes", "why": "So.",
    "trial": "T1", "pmid": " ",
}  # fmt: skip


def test_every_column_finds_its_place() -> None:
    found = map_rows("a.csv", [("a.csv:2", ROW)], columns=COLUMNS, labels=("no", "yes"), id_prefix="row")
    assert found.examples == (
        Example("k1", "A title\n\nBody.", "Is it?", label="yes", explanation="So.", groups=("trial:T1",)),
    )
    assert found.dropped == {}


def test_columns_swapped_are_joined_in_the_order_asked_for() -> None:
    swapped = COLUMNS.model_copy(update={"text": ("body", "title")})
    found = map_rows("a.csv", [("a.csv:2", ROW)], columns=swapped, labels=None, id_prefix="row")
    assert found.examples[0].document == "Body.\n\nA title"


def test_blank_label_and_explanation_are_none_and_empty_text_is_counted() -> None:
    rows = [
        ("f:1", ROW | {"label": " ", "why": ""}),
        ("f:2", ROW | {"key": "k2", "title": " ", "body": None}),
        ("f:3", ROW | {"key": "k3", "label": None, "title": None}),
    ]
    found = map_rows("f", rows, columns=COLUMNS, labels=("yes",), id_prefix="row")
    assert [(row.id, row.label, row.explanation) for row in found.examples] == [("k1", None, None), ("k3", None, "So.")]
    assert found.examples[1].document == "Body."
    assert found.dropped == {"empty_text": 1}


def test_ids_count_dropped_rows_too() -> None:
    rows = [("f:1", {"text": "a"}), ("f:2", {"text": ""}), ("f:3", {"text": "c"})]
    found = map_rows("f", rows, columns=ColumnSettings(), labels=None, id_prefix="row")
    assert [row.id for row in found.examples] == ["row-1", "row-3"]


def test_missing_columns_are_all_named_with_the_nearest() -> None:
    columns = ColumnSettings(text=("Txt",), label="lable", group=("patient",))
    with pytest.raises(DataError) as caught:
        check_columns("a.csv", [("a.csv:2", {"text": "x", "label": "y"})], columns, needs_label=True)
    assert str(caught.value).splitlines() == [
        "a.csv: data.columns.text must be a column of the data; got 'Txt'. Did you mean 'text'?",
        "a.csv: data.columns.group must be a column of the data; got 'patient'.",
        "a.csv: data.columns.label must be a column of the data; got 'lable'. Did you mean 'label'?",
        "Columns there: text, label.",
    ]


def test_label_column_may_be_absent_where_none_is_needed() -> None:
    check_columns("a.csv", [("a.csv:2", {"text": "x"})], ColumnSettings(), needs_label=False)


def test_all_problems_at_once_with_first_locations_and_counts() -> None:
    rows = [(f"f:{line}", ROW | {"key": "same" if line > 1 else "", "label": "may be"}) for line in range(1, 9)]
    with pytest.raises(DataError) as caught:
        map_rows("f", rows, columns=COLUMNS, labels=("no", "yes"), id_prefix="row")
    blank, repeated, unknown = str(caught.value).splitlines()
    assert blank == "f: id must be not blank; got, in 1 row, '' (f:1). Fill the id column, or map none."
    assert repeated.startswith("f: id must be unique; got, in 6 rows, 'same' (f:3, first in f:2); ")
    assert repeated.endswith("and 1 more. Remove the repeated rows, or map another id column.")
    assert unknown.startswith("f: label must be one of 'no', 'yes'; got, in 8 rows, 'may be' (f:1); ")
    assert "and 3 more. Correct the rows, or name every class in data.labels." in unknown


def test_a_text_mapped_as_label_is_not_quoted() -> None:
    with pytest.raises(DataError, match=r"got, in 1 row, a value of 60 characters \(f:1\)"):
        map_rows("f", [("f:1", ROW | {"label": "x" * 60})], columns=COLUMNS, labels=("no", "yes"), id_prefix="row")


def test_half_a_surrogate_pair_is_refused_with_its_line(tmp_path: Path) -> None:
    from clsgen.config.data import ColumnSettings
    from clsgen.data.source import read_examples

    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine", "label": "a"}\n{"text": "a \\ud800 b", "label": "a"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:2: text must be valid Unicode; it holds half a surrogate pair"):
        read_examples(str(path), ColumnSettings())
