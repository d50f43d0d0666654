"""Blocks: every row once, those that `read_examples` gives, whatever the files are."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clsgen.config.data import ColumnSettings
from clsgen.data.plan import plan_blocks, read_block
from clsgen.data.shards import ShardReader, shard_files
from clsgen.data.source import read_examples
from clsgen.data.split import components
from clsgen.errors import DataError

ROWS = [
    {"text": "" if i % 5 == 3 else f"text {i % 9}", "label": "no" if i % 2 else None, "patient": f"p{i // 3}"}
    for i in range(41)
]
COLUMNS = ColumnSettings(group=("patient",))


def write(folder: Path, kind: str, num_files: int) -> str:
    folder.mkdir()
    size = -(-len(ROWS) // num_files)
    for number in range(num_files):
        own = ROWS[number * size : (number + 1) * size]
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(own), folder / f"{number}.parquet", row_group_size=4)
        else:
            (folder / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    return str(folder)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("num_files", [1, 3])
@pytest.mark.parametrize("block_rows", [1, 4, 33, 100])
def test_blocks_hold_every_row_once_in_order(tmp_path: Path, kind: str, num_files: int, block_rows: int) -> None:
    source = write(tmp_path / "in", kind, num_files)
    expected = read_examples(source, COLUMNS, labels=("no", "yes"), needs_label=False)
    plan = plan_blocks(source, COLUMNS, labels=("no", "yes"), block_rows=block_rows)
    assert plan.num_rows == len(expected.examples) == 33
    assert plan.dropped == expected.dropped == {"empty_text": 8}
    assert plan.group_N.tolist() == components(expected.examples)
    assert [block.num_rows for block in plan.blocks[:-1]] == [block_rows] * (len(plan.blocks) - 1)
    for order in (plan.blocks, plan.blocks[::-1]):
        reader = ShardReader(shard_files(source))
        found = {block.first_row: read_block(reader, block, COLUMNS) for block in order}
        assert [row for first in sorted(found) for row in found[first]] == list(expected.examples)


def test_the_hash_is_of_the_rows_and_not_of_their_files(tmp_path: Path) -> None:
    hashes = {
        plan_blocks(write(tmp_path / f"{kind}{n}", kind, n), COLUMNS, labels=None, block_rows=8).rows_sha256
        for kind in ("parquet", "jsonl")
        for n in (1, 2)
    }
    assert len(hashes) == 1
    (tmp_path / "jsonl1" / "0.jsonl").write_text(json.dumps({"text": "other", "patient": "p"}) + "\n")
    assert plan_blocks(str(tmp_path / "jsonl1"), COLUMNS, labels=None, block_rows=8).rows_sha256 not in hashes


def test_rows_are_checked_before_anything_is_predicted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "id": "x", "label": "maybe"}\n{"text": "b", "id": "x"}\n')
    with pytest.raises(DataError) as caught:
        plan_blocks(str(path), ColumnSettings(id="id"), labels=("no", "yes"), block_rows=8)
    assert f"id must be unique; got, in 1 row, 'x' ({path}:2, first in {path}:1)" in str(caught.value)
    assert f"label must be one of 'no', 'yes'; got, in 1 row, 'maybe' ({path}:1)" in str(caught.value)
    with pytest.raises(DataError, match=r"data\.columns\.text must be a column of the data; got 'body'"):
        plan_blocks(str(path), ColumnSettings(text=("body",)), labels=None, block_rows=8)


def test_an_input_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    source = write(tmp_path / "in", "jsonl", 1)
    plan = plan_blocks(source, COLUMNS, labels=None, block_rows=8)
    path = Path(source) / "0.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:12]))
    with pytest.raises(
        DataError, match="block 1: the input must stay as it is while it is read; 2 other rows are there"
    ):
        read_block(ShardReader([path]), plan.blocks[1], COLUMNS)


@pytest.mark.parametrize("name", ["text", "label"])
def test_an_input_whose_rows_change_while_it_is_read_is_an_error(tmp_path: Path, name: str) -> None:
    """As many rows as before, in the same places."""
    source = write(tmp_path / "in", "jsonl", 1)
    plan = plan_blocks(source, COLUMNS, labels=None, block_rows=8)
    path = Path(source) / "0.jsonl"
    before, after = {"text": ("text 1", "text 2"), "label": ('"no"', '"on"')}[name]
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(DataError, match="block 0: the input must stay as it is while it is read; 8 other rows are"):
        read_block(ShardReader([path]), plan.blocks[0], COLUMNS)
