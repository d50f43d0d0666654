"""Readers of the file formats: each yields (location, row), values as the format has them."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from clsgen.errors import DataError

RawRow = dict[str, Any]

# A discharge note passes the csv module's own limit of 131,072 characters a cell.
_MAX_CELL_CHARACTERS = 2**31 - 1


@contextmanager
def _open_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """The file as UTF-8 text, unpacked where it ends in .gz; what can't be read is a DataError."""
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path, "rt", encoding="utf-8-sig", newline=newline) as packed:
                yield packed
        else:
            with path.open(encoding="utf-8-sig", newline=newline) as stream:
                yield stream
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: text must be UTF-8; got byte {error.object[error.start]:#04x}. Convert the file to UTF-8."
        ) from error
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: file must be readable; got {error}. Check that it is whole.") from error


def read_delimited(path: Path, delimiter: str) -> Iterator[tuple[str, RawRow]]:
    """Rows of a csv or tsv file with a header line; every value is the cell's own string, never converted.

    Args:
        path: The file; `.gz` is unpacked.
        delimiter: "," or a tab.

    Yields:
        ("FILE:LINE", row), LINE being the line on which the row starts.

    Raises:
        DataError: No header, a repeated column, a row with more or fewer cells than the header, broken quotes.
    """
    csv.field_size_limit(_MAX_CELL_CHARACTERS)
    with _open_text(path, newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        try:
            header = _header(path, next(reader, []))
            line = reader.line_num + 1
            for cells in reader:
                location, line = f"{path}:{line}", reader.line_num + 1
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise DataError(
                        f"{location}: row must be {len(header)} cells long, as the header is; got {len(cells)}. "
                        "Quote cells that hold the delimiter or a line break."
                    )
                yield location, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise DataError(
                f"{path}:{reader.line_num}: row must be valid {path.suffix[1:]}; got {str(error)!r}. "
                "Look for an unclosed quotation mark."
            ) from error


def _header(path: Path, cells: list[str]) -> list[str]:
    if not cells:
        raise DataError(f"{path}: first line must be a header; got an empty file. Name the columns there.")
    repeated = sorted({name for name in cells if cells.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: columns must be distinct; got {repeated!r} twice. Rename them in the header.")
    return cells


def read_json_lines(path: Path) -> Iterator[tuple[str, RawRow]]:
    """Rows of a file with one JSON object a line; blank lines are passed over.

    Args:
        path: The file; `.gz` is unpacked.

    Yields:
        ("FILE:LINE", row).

    Raises:
        DataError: A line that is not one JSON object; the message names file and line, and quotes no text.
    """
    with _open_text(path) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            location = f"{path}:{number}"
            yield location, parse_line(location, line)


def parse_line(location: str, line: str | bytes) -> RawRow:
    """The object of a line.

    Args:
        location: File and line, for the message.
        line: The line, as bytes in UTF-8 or as text.

    Raises:
        DataError: It is no JSON object; the message quotes no text.
    """
    try:
        row = json.loads((line.decode("utf-8") if isinstance(line, bytes) else line).rstrip())
    except UnicodeDecodeError as error:
        raise DataError(f"{location}: text must be UTF-8; got {error.reason!r}. Convert the file to UTF-8.") from error
    except json.JSONDecodeError as error:
        raise DataError(_not_an_object(location, f"{error.msg!r} at column {error.colno}")) from error
    if not isinstance(row, dict):
        raise DataError(_not_an_object(location, f"a value of type {type(row).__name__}"))
    return row


def _not_an_object(location: str, found: str) -> str:
    return f"{location}: line must be one JSON object; got {found}. Correct or remove the line."


def read_dataset(path: str, split: str, *, is_on_disk: bool) -> Iterator[tuple[str, RawRow]]:
    """Rows of a `datasets` directory (`save_to_disk`) or of a hub id, ("PATH:row N", row) with N from 1.

    Class columns (`ClassLabel`) yield their names; -1, which means unknown there, yields None.

    Args:
        path: The directory or hub id.
        split: Which split is read where there are several.
        is_on_disk: Whether path is a directory.

    Raises:
        DataError: It can't be loaded, or has no such split.
    """
    # datasets takes a second to load, and most users read plain files.
    import datasets  # noqa: PLC0415

    try:
        loaded = datasets.load_from_disk(path) if is_on_disk else datasets.load_dataset(path)
    except Exception as error:
        kind = "a directory made by save_to_disk" if is_on_disk else "a local file, a directory or a hub dataset id"
        reason = (str(error).strip().splitlines() or [""])[0]
        raise DataError(
            f"{path}: data must be {kind}; got {type(error).__name__}: {reason}. "
            "Check the name; without a network, give a file."
        ) from error
    if isinstance(loaded, dict):
        if split not in loaded:
            raise DataError(
                f"{path}: split must be one of {sorted(loaded)}; got {split!r}. "
                "Save the split that you mean as a directory or file of its own."
            )
        loaded = loaded[split]
    classes = {
        name: feature.names for name, feature in loaded.features.items() if isinstance(feature, datasets.ClassLabel)
    }
    for number, row in enumerate(loaded, start=1):
        for name, names in classes.items():
            code = row[name]
            row[name] = None if code is None or code < 0 else names[code]
        yield f"{path}:row {number}", row
