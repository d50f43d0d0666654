"""Rows of a source dealt into blocks: what a process needs to read one of them, and nothing of its texts. N rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsgen.config.data import ColumnSettings
from clsgen.data.columns import RowMapper, example_of
from clsgen.data.shards import BEGINNING, Place, ShardReader, shard_files
from clsgen.data.source import as_text
from clsgen.data.ties import Ties
from clsgen.errors import DataError
from clsgen.types import Example

_ID_PREFIX = "row"


class Block(NamedTuple):
    """Rows that are read, predicted and written together.

    Attributes:
        number: From 0, in the order of the input.
        start: Where its first row stands.
        num_before: Rows of the input before it, those without a text included.
        num_read: Rows of the input that it takes, likewise.
        first_row: Rows with a text before it.
        num_rows: Rows with a text that it holds.
        digest: What these say, as `RowsHash.number` has it.
    """

    number: int
    start: Place
    num_before: int
    num_read: int
    first_row: int
    num_rows: int
    digest: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A source in blocks.

    Attributes:
        blocks: In their order; every row with a text is in one.
        num_rows: Rows with a text, N.
        dropped: Reason -> rows left out.
        group_N: The connected component of each row.
        rows_sha256: What the rows say, as `RowsHash` has it.
    """

    blocks: tuple[Block, ...]
    num_rows: int
    dropped: dict[str, int]
    group_N: NDArray[np.int64]
    rows_sha256: str


class RowsHash:
    """Of what rows say, taken one at a time: ids, texts, questions, labels, in their order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, example: Example) -> None:
        """Take the next row."""
        self._digest.update(json.dumps([example.id, example.document, example.question, example.label]).encode())

    def hexdigest(self) -> str:
        """Of all rows taken."""
        return self._digest.hexdigest()

    def number(self) -> int:
        """The first 63 bits of it."""
        return int.from_bytes(self._digest.digest()[:8]) >> 1


def plan_blocks(source: str, columns: ColumnSettings, *, labels: Sequence[str] | None, block_rows: int) -> Plan:
    """Reads a source once, checks every row as `read_examples` does, and deals the rows into blocks.

    The blocks are derived from the input alone, so that a run that goes on has those of the run that stopped.

    Args:
        source: A parquet or jsonl file, or a folder or glob of them.
        columns: Which column is what.
        labels: The known labels; None: any.
        block_rows: Rows with a text in a block; the last one may hold fewer.

    Raises:
        DataError: As for `read_examples`, or a source of another kind.
    """
    mapper = RowMapper(columns, labels=labels, id_prefix=_ID_PREFIX)
    ties, rows_hash = Ties(), RowsHash()
    dealt = _Dealt()
    num_rows, after = 0, BEGINNING
    for location, row, after in ShardReader(shard_files(source)).rows():
        example = mapper.example(location, {name: as_text(value) for name, value in row.items()})
        if example is None:
            continue
        ties.add(example)
        rows_hash.add(example)
        dealt.rows_hash.add(example)
        num_rows += 1
        if num_rows - dealt.first_row == block_rows:
            dealt.close(after, mapper.num_rows, num_rows)
    mapper.check(source, needs_label=False)
    if num_rows > dealt.first_row:
        dealt.close(after, mapper.num_rows, num_rows)
    return Plan(tuple(dealt.blocks), num_rows, mapper.dropped, ties.components(), rows_hash.hexdigest())


class _Dealt:
    """Blocks so far, and where the next one begins."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.start, self.num_before, self.first_row = BEGINNING, 0, 0
        self.rows_hash = RowsHash()

    def close(self, after: Place, num_read: int, num_rows: int) -> None:
        """Let the block end here: before `after`, with so many rows read and kept since the beginning."""
        counts = (self.num_before, num_read - self.num_before, self.first_row, num_rows - self.first_row)
        self.blocks.append(Block(len(self.blocks), self.start, *counts, self.rows_hash.number()))
        self.start, self.num_before, self.first_row = after, num_read, num_rows
        self.rows_hash = RowsHash()


def read_block(reader: ShardReader, block: Block, columns: ColumnSettings) -> list[Example]:
    """The rows of a block, as `read_examples` of the whole source has them.

    Raises:
        DataError: The input is not what it was when it was planned.
    """
    found, rows_hash = list(_examples(reader, block, columns)), RowsHash()
    for example in found:
        rows_hash.add(example)
    if rows_hash.number() != block.digest:
        raise DataError(
            f"block {block.number}: the input must stay as it is while it is read; {len(found)} other rows are there "
            f"instead of {block.num_rows}. Run again when nobody writes to it."
        )
    return found


def _examples(reader: ShardReader, block: Block, columns: ColumnSettings) -> Iterator[Example]:
    rows = reader.rows(block.start, num_rows=block.num_read)
    for number, (_, row, _) in enumerate(rows, start=block.num_before + 1):
        values = {name: as_text(value) for name, value in row.items()}
        example = example_of(values, columns, default_id=f"{_ID_PREFIX}-{number}")
        if example.document:
            yield example
