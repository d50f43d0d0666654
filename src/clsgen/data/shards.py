"""Rows of one or many parquet or jsonl files, read from any place on without what stands before it."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clsgen.data.formats import RawRow, parse_line
from clsgen.errors import DataError

LINES = (".jsonl", ".ndjson")
SUFFIXES = (".parquet", *LINES)
_BATCH = 1024


class Place(NamedTuple):
    """Where a row stands.

    Attributes:
        file: Index of its file.
        at: jsonl: the byte at which its line begins; parquet: its number from 0.
        line: Its line or row from 1, for messages.
    """

    file: int
    at: int
    line: int


BEGINNING = Place(0, 0, 1)


class ShardRow(NamedTuple):
    """location: for messages. row: its values. after: the place of the next one."""

    location: str
    row: RawRow
    after: Place


def is_pattern(path: str) -> bool:
    """Whether a path is a glob and no file."""
    return glob.has_magic(path) and not Path(path).exists()


def shard_files(path: str, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """The files of a source in the order of their names: a file, a folder's files, or those that a glob matches.

    Args:
        path: The source.
        suffixes: Ends of names that count, with the dot.

    Raises:
        DataError: There is none, or files of two kinds stand together.
    """
    if is_pattern(path):
        found = [Path(name) for name in sorted(glob.glob(path))]  # noqa: PTH207  (Path.glob takes no absolute pattern)
    elif Path(path).is_dir():
        found = sorted(each for each in Path(path).iterdir() if not each.name.startswith((".", "_")))
    else:
        found = [Path(path)]
    files = [each for each in found if each.is_file() and each.suffix.lower() in suffixes]
    kinds = {each.suffix.lower() for each in files}
    if not files or len(kinds) > 1:
        got = " and ".join(sorted(kinds)) if kinds else "none"
        raise DataError(
            f"{path}: data must be {' or '.join(suffixes)}: a file, a folder or a glob of one kind; got {got}. "
            "Check the path, or convert the file."
        )
    return files


class ShardReader:
    """Reads rows from any place on; who goes on where they stopped does not read a parquet file's beginning again."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Take the files of a source, in their order."""
        self._files = files
        self._rows: Iterator[ShardRow] = iter(())
        self._place: Place | None = None

    def rows(self, start: Place = BEGINNING, *, num_rows: int | None = None) -> Iterator[ShardRow]:
        """Rows from a place on, over the ends of files.

        Args:
            start: Where the first one stands.
            num_rows: How many; None: all there are.

        Raises:
            DataError: A file that can't be read, or a line that is not one JSON object.
        """
        self._go_to(start)
        number = 0
        while num_rows is None or number < num_rows:
            found = next(self._rows, None)
            if found is None:
                return
            self._place = found.after
            number += 1
            yield found

    def _go_to(self, start: Place) -> None:
        """Stand at a place: by reading on where that is in a parquet file that is being read, else afresh."""
        here = self._place
        is_lines = self._files[start.file].suffix.lower() in LINES
        if here is None or is_lines or here.file != start.file or here.at > start.at:
            self._rows, self._place = self._read(start), start
            return
        for _ in range(start.at - here.at):
            next(self._rows, None)
        self._place = start

    def _read(self, start: Place) -> Iterator[ShardRow]:
        for index in range(start.file, len(self._files)):
            file = self._files[index]
            place = start if index == start.file else Place(index, 0, 1)
            read = _read_lines if file.suffix.lower() in LINES else _read_parquet
            yield from read(file, place)


def _read_lines(path: Path, place: Place) -> Iterator[ShardRow]:
    try:
        with path.open("rb") as stream:
            stream.seek(place.at)
            at = place.at
            for number, line in enumerate(stream, start=place.line):
                at += len(line)
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    location = f"{path}:{number}"
                    yield ShardRow(location, parse_line(location, text), Place(place.file, at, number + 1))
    except OSError as error:
        raise DataError(f"{path}: file must be readable; got {error}. Check that it is whole.") from error


def _read_parquet(path: Path, place: Place) -> Iterator[ShardRow]:
    # pyarrow takes 0.3 s to load, and only this format needs it.
    import pyarrow  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            first, groups = _groups_from(table.metadata, place.at)
            number = first
            for batch in table.iter_batches(_BATCH, row_groups=groups):
                skipped = min(max(place.at - number, 0), batch.num_rows)
                number += skipped
                for row in batch.slice(skipped).to_pylist():
                    number += 1
                    yield ShardRow(f"{path}:row {number}", row, Place(place.file, number, number + 1))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: file must be parquet; got {str(error)!r}. Check that it is whole.") from error


def _groups_from(metadata: Any, at: int) -> tuple[int, list[int]]:
    """Number of the first row of the row group that holds row `at`, and that group with all after it."""
    first = 0
    for group in range(metadata.num_row_groups):
        num_rows = metadata.row_group(group).num_rows
        if first + num_rows > at:
            return first, list(range(group, metadata.num_row_groups))
        first += num_rows
    return first, []


def is_shards(path: str) -> bool:
    """Whether a source is a glob, or a folder of shards, and no folder of `datasets`."""
    return is_pattern(path) or (Path(path).is_dir() and _is_shard_folder(Path(path)))


def _is_shard_folder(path: Path) -> bool:
    if any((path / name).exists() for name in ("state.json", "dataset_info.json", "dataset_dict.json")):
        return False
    return any(each.suffix.lower() in SUFFIXES for each in path.iterdir())
