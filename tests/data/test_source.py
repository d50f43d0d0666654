"""Own data from file to examples and task, and examples in files of ours."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clsgen.config.data import ColumnSettings, DataSettings
from clsgen.data.source import load_examples, read_examples, read_rows, source_spec, write_examples
from clsgen.errors import ArtifactError, DataError
from clsgen.types import Example

AWKWARD = ["yes", "no", "NA", "None", "01", "NULL", "é", "1.0", "true", "nan", "1e-4", "-"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_awkward_strings_round_trip(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".jsonl"):
        path.write_text("".join(json.dumps({"text": "x", "label": label}) + "\n" for label in AWKWARD))
    elif name.endswith(".parquet"):
        pq.write_table(pa.table({"text": ["x"] * len(AWKWARD), "label": AWKWARD}), path)
    else:
        mark = "," if name.endswith(".csv") else "\t"
        path.write_text(f"text{mark}label\n" + "".join(f"x{mark}{label}\n" for label in AWKWARD), encoding="utf-8")
    found = read_examples(str(path), ColumnSettings())
    assert [row.label for row in found.examples] == AWKWARD


def test_typed_labels_become_text_as_json_spells_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"text": "x", "label": {value}}}\n' for value in ("1", "1.0", "true", "false", "null")))
    found = read_examples(str(path), ColumnSettings())
    assert [row.label for row in found.examples] == ["1", "1.0", "true", "false", None]


def test_parquet_nan_is_no_label(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x", "y"], "label": [1.0, float("nan")]}), path)
    assert [row["label"] for _, row in read_rows(str(path))] == ["1.0", None]


def test_missing_column_and_broken_line_come_through(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"note": "x", "label": "a"}\n')
    with pytest.raises(DataError, match=r"data\.columns\.text must be a column .* got 'text'"):
        read_examples(str(path), ColumnSettings())
    path.write_text('{"text": "x", "label": "a"}\n{"text": \n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: line must be one JSON object"):
        read_examples(str(path), ColumnSettings())


def test_unlabelled_rows_can_be_read_to_predict(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\nx\n")
    found = read_examples(str(path), ColumnSettings(), needs_label=False, split="test")
    assert found.examples == (Example("test-row-1", "x"),)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\n", "data must hold one row or more; got none"),
        ("a.csv", "text,label\n ,yes\n,no\n", "text must be there in some row; got 2 empty ones"),
        ("a.xlsx", "x", r"file name must end in one of \['\.csv', .*'\.tsv'\]"),
    ],
)
def test_files_without_rows_or_of_another_kind(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_examples(str(path), ColumnSettings())


@pytest.mark.parametrize("path", ["absent.csv", "absent.jsonl.gz", "./absent", "/absent/x", "a/b/c"])
def test_absent_paths_never_go_to_the_hub(path: str) -> None:
    with pytest.raises(DataError, match="data must be an existing file or directory; got neither"):
        list(read_rows(path))


def _rows(*labels: str | None, question: str = "") -> list[Example]:
    return [Example(str(number), "x", question, label) for number, label in enumerate(labels)]


def test_task_of_own_data() -> None:
    spec = source_spec(DataSettings(train="some/notes.jsonl.gz"), _rows("yes", None, "no"))
    assert (spec.name, spec.labels, spec.positive, spec.is_restricted) == ("notes", ("no", "yes"), "yes", False)
    assert spec.instruction == "Classify the text above as one of: no or yes."


def test_task_as_given() -> None:
    data = DataSettings(train="n.csv", labels=("yes", "no", "maybe"), instruction="Say which.", restricted=True)
    spec = source_spec(data, _rows("yes"))
    assert (spec.labels, spec.positive, spec.instruction) == (("yes", "no", "maybe"), None, "Say which.")
    assert spec.is_restricted
    named = source_spec(DataSettings(train="n.csv", positive="no"), _rows("no", "yes", question="Is it?"))
    assert named.positive == "no"
    assert named.instruction == "Answer the question about the text above as one of: no or yes."


@pytest.mark.parametrize(
    ("settings", "labels", "message"),
    [
        ({}, ["a"], r"labels must be two or more, distinct and not blank; got \('a',\)"),
        ({"labels": ("a", "a")}, ["a"], "labels must be two or more, distinct"),
        ({"labels": ("a", " ")}, ["a"], "labels must be two or more, distinct and not blank"),
        ({"positive": "c"}, ["a", "b"], r"data\.positive must be one of \('a', 'b'\); got 'c'"),
        ({"positive": "c"}, ["a", "b", "c"], r"data\.positive must be null with 3 classes; got 'c'"),
        ({}, [str(each) for each in range(51)], "'label' must hold class names; got 51 values, the longest of 2"),
        ({}, ["a", "b" * 101], "must hold class names; got 2 values, the longest of 101 characters"),
    ],
)
def test_labels_that_make_no_task(settings: dict[str, object], labels: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        source_spec(DataSettings(train="n.csv").model_copy(update=settings), _rows(*labels))


EXAMPLE = Example(
    "é-1", "line\nbreak \u2028 here", "q", "01", "because", ("a:1", "b:2"), {"risk": 0.25, "causes": ["x"]}
)


@pytest.mark.parametrize("is_restricted", [False, True])
def test_examples_round_trip(tmp_path: Path, is_restricted: bool) -> None:
    path = tmp_path / "train.jsonl"
    examples = (EXAMPLE, Example("2", "y"))
    write_examples(path, examples, is_restricted=is_restricted)
    assert load_examples(path) == examples
    is_private = stat.S_IMODE(path.stat().st_mode) == 0o600
    assert is_private == is_restricted
    assert [each.name for each in tmp_path.iterdir()] == ["train.jsonl"]


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.jsonl"
    write_examples(path, [EXAMPLE], is_restricted=False)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ArtifactError, match="No space left"):
        write_examples(path, [], is_restricted=False)
    assert load_examples(path) == (EXAMPLE,)


@pytest.mark.parametrize("line", ['{"id": "a"}', '{"id": "a", "groups": [], "document": "x", "text": "y"}'])
def test_a_line_of_another_kind(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=r"a\.jsonl:1: line must be an example written by clsgen; got \w+Error"):
        load_examples(path)


def test_a_dataset_directory_and_a_hub_id_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = datasets.Dataset.from_dict({"text": ["a"], "label": ["01"]})
    table.save_to_disk(str(tmp_path / "set"))
    assert read_examples(str(tmp_path / "set"), ColumnSettings()).examples == (Example("row-1", "a", label="01"),)
    monkeypatch.setattr(datasets, "load_dataset", lambda path: datasets.DatasetDict({"test": table}))
    found = read_examples("own/set", ColumnSettings(), split="test")
    assert found.examples == (Example("test-row-1", "a", label="01"),)
