"""Files of rows that are read from any place on, and several that are one source."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsgen.config.data import ColumnSettings
from clsgen.data.shards import BEGINNING, ShardReader, is_shards, shard_files
from clsgen.data.source import read_examples, read_rows
from clsgen.errors import DataError


def write(folder: Path, kind: str, sizes: tuple[int, ...] = (7, 0, 5), group: int = 3) -> list[dict[str, object]]:
    """Files a, b, c of so many rows; returns all rows in order."""
    folder.mkdir(parents=True)
    rows: list[dict[str, object]] = []
    for name, size in zip("abc", sizes, strict=True):
        own = [{"text": f"text é {len(rows) + i}", "n": i} for i in range(size)]
        rows += own
        if kind == "parquet":
            schema = pa.schema([("text", pa.string()), ("n", pa.int64())])
            pq.write_table(pa.Table.from_pylist(own, schema), folder / f"{name}.parquet", row_group_size=group)
        else:
            lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in own)
            (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8-sig")
    return rows


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "label": [True, None]}), path)
    assert [(row.location, row.row) for row in ShardReader([path]).rows()] == [
        (f"{path}:row 1", {"text": "a", "label": True}),
        (f"{path}:row 2", {"text": "b", "label": None}),
    ]


def test_broken_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("no parquet")
    with pytest.raises(DataError, match=r"a\.parquet: file must be parquet"):
        list(ShardReader([path]).rows())


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_reading_goes_on_from_any_place_whatever_was_read_before(tmp_path: Path, kind: str) -> None:
    rows = write(tmp_path / "in", kind)
    files = shard_files(str(tmp_path / "in"))
    whole = list(ShardReader(files).rows())
    assert [each.row for each in whole] == rows
    places = [BEGINNING, *(each.after for each in whole)]

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, len(rows)), st.integers(0, 6)), min_size=1, max_size=5))
    def check(asked: list[tuple[int, int]]) -> None:
        reader = ShardReader(files)
        for first, num_rows in asked:
            found = list(reader.rows(places[first], num_rows=num_rows))
            assert found == whole[first : first + num_rows]

    check()


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_folder_and_a_glob_are_one_source(tmp_path: Path, kind: str) -> None:
    rows = write(tmp_path / "in", kind)
    (tmp_path / "in" / "_SUCCESS").touch()
    (tmp_path / "in" / "notes.txt").write_text("not a shard")
    for source in (str(tmp_path / "in"), f"{tmp_path}/in/*.{kind}", f"{tmp_path}/in/?.{kind}"):
        assert is_shards(source)
        assert [row["text"] for _, row in read_rows(source)] == [row["text"] for row in rows]
    found = read_examples(str(tmp_path / "in"), ColumnSettings(), needs_label=False)
    assert [row.id for row in found.examples] == [f"row-{number}" for number in range(1, 13)]


def test_files_of_two_kinds_and_none_at_all(tmp_path: Path) -> None:
    write(tmp_path / "in", "parquet")
    (tmp_path / "in" / "d.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(DataError, match=r"of one kind; got \.jsonl and \.parquet"):
        shard_files(str(tmp_path / "in"))
    with pytest.raises(DataError, match=r"of one kind; got none"):
        shard_files(f"{tmp_path}/*.parquet")


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "secret \xff"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: text must be UTF-8"):
        list(ShardReader([path]).rows())
    path.write_text('{"text": "a"}\n["secret"]\n')
    with pytest.raises(
        DataError, match=r"a\.jsonl:2: line must be one JSON object; got a value of type list"
    ) as caught:
        list(ShardReader([path]).rows())
    assert "secret" not in str(caught.value)
