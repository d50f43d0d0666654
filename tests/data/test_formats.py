"""Every format gives rows with their place, and says where it is broken."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import datasets
import pytest

from clsgen.data.formats import read_dataset, read_delimited, read_json_lines
from clsgen.errors import DataError


def test_csv_location_is_the_line_where_a_row_starts(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"two\nlines",yes\n\nnext,no\n')
    assert list(read_delimited(path, ",")) == [
        (f"{path}:2", {"text": "two\nlines", "label": "yes"}),
        (f"{path}:5", {"text": "next", "label": "no"}),
    ]


def test_csv_takes_a_byte_order_mark_and_a_cell_beyond_the_modules_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "x" * 200_000 + "\n", encoding="utf-8-sig")
    ((_, row),) = read_delimited(path, ",")
    assert row == {"text": "x" * 200_000}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"a\.csv: first line must be a header; got an empty file"),
        ("a,b,a\n", r"a\.csv: columns must be distinct; got \['a'\] twice"),
        ("a,b\n1,2\n1,2,3\n", r"a\.csv:3: row must be 2 cells long, as the header is; got 3"),
        ("a,b\n1\n", r"a\.csv:2: row must be 2 cells long, as the header is; got 1"),
        ('a,b\n1,2\n1,"open\n', r"a\.csv:3: row must be valid csv; got 'unexpected end of data'"),
    ],
)
def test_broken_csv(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        list(read_delimited(path, ","))


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text\ncafé\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.csv: text must be UTF-8; got byte 0xe9"):
        list(read_delimited(path, ","))


@pytest.mark.parametrize("is_packed", [False, True])
def test_json_lines(tmp_path: Path, is_packed: bool) -> None:
    path = tmp_path / ("a.jsonl.gz" if is_packed else "a.jsonl")
    content = '{"text": "é", "label": 1}\n\n{"text": "b", "label": null}\n'.encode()
    path.write_bytes(gzip.compress(content) if is_packed else content)
    assert list(read_json_lines(path)) == [
        (f"{path}:1", {"text": "é", "label": 1}),
        (f"{path}:3", {"text": "b", "label": None}),
    ]


@pytest.mark.parametrize(
    ("line", "found"),
    [('{"text": "secret"', '".+" at column 18'), ("[1]", "a value of type list"), ("3", "a value of type int")],
)
def test_broken_line_names_file_and_line_and_quotes_no_text(tmp_path: Path, line: str, found: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n' + line + "\n")
    with pytest.raises(DataError, match=rf"a\.jsonl:2: line must be one JSON object; got {found}\.") as caught:
        list(read_json_lines(path))
    assert "secret" not in str(caught.value)


def test_cut_off_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n' * 100)[:-12])
    with pytest.raises(DataError, match=r"a\.jsonl\.gz: file must be readable; got .*whole"):
        list(read_json_lines(path))


def _dataset() -> datasets.Dataset:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    return datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)


def test_dataset_directory_gives_class_names(tmp_path: Path) -> None:
    path = str(tmp_path / "set")
    _dataset().save_to_disk(path)
    rows = list(read_dataset(path, "train", is_on_disk=True))
    assert rows[0] == (f"{path}:row 1", {"text": "a", "label": "yes"})
    assert [row["label"] for _, row in rows] == ["yes", "no", None]


def test_dataset_directory_with_splits(tmp_path: Path) -> None:
    path = str(tmp_path / "set")
    datasets.DatasetDict({"train": _dataset(), "dev": _dataset().select([0])}).save_to_disk(path)
    assert len(list(read_dataset(path, "train", is_on_disk=True))) == 3
    with pytest.raises(DataError, match=r"split must be one of \['dev', 'train'\]; got 'test'"):
        list(read_dataset(path, "test", is_on_disk=True))


def test_directory_that_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(json.dumps({}))
    with pytest.raises(DataError, match="data must be a directory made by save_to_disk; got FileNotFoundError"):
        list(read_dataset(str(tmp_path), "train", is_on_disk=True))


def test_hub_failure_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> None:
        raise ConnectionError("no route\nlong trace")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match=r"^own/set: data must be .* a hub dataset id; got ConnectionError: no route\."):
        list(read_dataset("own/set", "train", is_on_disk=False))


def test_hub_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda path: datasets.DatasetDict({"train": _dataset()}))
    assert len(list(read_dataset("own/set", "train", is_on_disk=False))) == 3
