"""From a row of text values to an example: which column is what, and every problem found on the way."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from clsgen.config.data import ColumnSettings
from clsgen.errors import DataError
from clsgen.types import Example

Row = Mapping[str, str | None]
LocatedRow = tuple[str, Row]

NUM_LOCATIONS_SHOWN = 5
_MAX_VALUE_CHARACTERS = 40


class ReadExamples(NamedTuple):
    """What a file gave: its examples in order, and reason -> number of rows left out."""

    examples: tuple[Example, ...]
    dropped: dict[str, int]


class _Problems:
    """Rows with the same problem: the first of them, and how many there are."""

    def __init__(self) -> None:
        self.count = 0
        self.shown: list[tuple[str, str]] = []

    def add(self, location: str, value: str) -> None:
        """Count a row."""
        self.count += 1
        if self.count <= NUM_LOCATIONS_SHOWN:
            self.shown.append((location, value))


def check_columns(path: str, rows: Sequence[LocatedRow], columns: ColumnSettings, *, needs_label: bool) -> None:
    """Nothing, if every mapped column occurs in some row.

    Args:
        path: Names the source in the message.
        rows: All rows.
        columns: The mapping.
        needs_label: Whether the label column must be there, and those to judge by.

    Raises:
        DataError: Missing columns, all of them, with the nearest name of each and the columns that exist.
    """
    present = list(dict.fromkeys(name for _, row in rows for name in row))
    wanted = [("text", name) for name in columns.text]
    wanted += [("group", name) for name in columns.group]
    wanted += [("subgroups", name) for name in columns.subgroups if needs_label]
    wanted += [
        (role, name)
        for role, name in (("question", columns.question), ("explanation", columns.explanation), ("id", columns.id))
        if name is not None
    ]
    if needs_label:
        wanted.append(("label", columns.label))
    lines = [
        f"{path}: data.columns.{role} must be a column of the data; got {name!r}.{_nearest(name, present)}"
        for role, name in wanted
        if name not in present
    ]
    if lines:
        raise DataError("\n".join([*lines, f"Columns there: {', '.join(present)}."]))


def _nearest(name: str, present: Sequence[str]) -> str:
    by_folded = {column.casefold(): column for column in present}
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return f" Did you mean {by_folded[matches[0]]!r}?" if matches else ""


class RowMapper:
    """Rows to examples, one at a time; what is wrong with them is counted, and raised for all of them at the end.

    A blank label, explanation, question or group value counts as none. Labels are otherwise taken letter for
    letter: "yes" and "yes " are two classes.

    Attributes:
        num_rows: Rows taken so far.
        num_empty: Of these, rows whose document is blank.
    """

    def __init__(self, columns: ColumnSettings, *, labels: Sequence[str] | None, id_prefix: str) -> None:
        """Take nothing yet.

        Args:
            columns: The mapping.
            labels: The known labels; None: any.
            id_prefix: Ids are "<id_prefix>-<n>" (n from 1, dropped rows included) where no id column is mapped.
        """
        self.num_rows = self.num_empty = 0
        self._columns, self._labels, self._id_prefix = columns, labels, id_prefix
        self._present: dict[str, None] = {}
        self._first: dict[str, str] = {}
        self._blank, self._repeated, self._unknown = _Problems(), _Problems(), _Problems()

    def example(self, location: str, row: Row) -> Example | None:
        """The next row as an example; None where its document is blank.

        Raises:
            DataError: A value that is no valid Unicode.
        """
        if not all(is_unicode(value) for value in row.values() if value is not None):
            raise DataError(f"{location}: text must be valid Unicode; it holds half a surrogate pair. Correct the row.")
        self.num_rows += 1
        self._present.update(dict.fromkeys(row))
        example = example_of(row, self._columns, default_id=f"{self._id_prefix}-{self.num_rows}")
        if not example.id:
            self._blank.add(location, "")
        elif example.id in self._first:
            self._repeated.add(f"{location}, first in {self._first[example.id]}", example.id)
        self._first.setdefault(example.id, location)
        if self._labels is not None and example.label is not None and example.label not in self._labels:
            self._unknown.add(location, example.label)
        if not example.document:
            self.num_empty += 1
            return None
        return example

    @property
    def dropped(self) -> dict[str, int]:
        """Reason -> number of rows left out."""
        return {"empty_text": self.num_empty} if self.num_empty else {}

    def check(self, path: str, *, needs_label: bool) -> None:
        """Nothing, if the rows taken are a source that can be used.

        Args:
            path: Names the source in the message.
            needs_label: As for `check_columns`.

        Raises:
            DataError: No row, missing columns, what `check_rows` finds, or no row with a text.
        """
        if not self.num_rows:
            raise DataError(f"{path}: data must hold one row or more; got none. Check the file.")
        check_columns(path, [("", self._present)], self._columns, needs_label=needs_label)
        self.check_rows(path)
        if self.num_empty == self.num_rows:
            raise DataError(
                f"{path}: text must be there in some row; got {self.num_rows} empty ones. Check data.columns.text."
            )

    def check_rows(self, path: str) -> None:
        """Nothing, if all rows taken are as they should be.

        Args:
            path: Names the source in the message.

        Raises:
            DataError: Blank or duplicate ids and unknown labels, with the first locations of each and a count.
        """
        rule = f"one of {', '.join(map(repr, self._labels or ()))}"
        problems = [
            _describe("id", "not blank", self._blank, "Fill the id column, or map none."),
            _describe("id", "unique", self._repeated, "Remove the repeated rows, or map another id column."),
            _describe("label", rule, self._unknown, "Correct the rows, or name every class in data.labels."),
        ]
        found = [f"{path}: {problem}" for problem in problems if problem is not None]
        if found:
            raise DataError("\n".join(found))


def map_rows(
    path: str, rows: Iterable[LocatedRow], *, columns: ColumnSettings, labels: Sequence[str] | None, id_prefix: str
) -> ReadExamples:
    """The rows as examples; a row whose document is blank is left out and counted as `empty_text`.

    Args:
        path: Names the source in messages.
        rows: (location, row) pairs.
        columns: The mapping; every column is known to occur.
        labels: The known labels; None: any.
        id_prefix: As for `RowMapper`.

    Raises:
        DataError: Blank or duplicate ids and unknown labels, with the first locations of each and a count.
    """
    mapper = RowMapper(columns, labels=labels, id_prefix=id_prefix)
    found = [mapper.example(location, row) for location, row in rows]
    mapper.check_rows(path)
    return ReadExamples(tuple(example for example in found if example is not None), mapper.dropped)


def is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8: half a surrogate pair, which JSON can spell, can't."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def example_of(row: Row, columns: ColumnSettings, *, default_id: str) -> Example:
    """A row as an example; its document may be blank."""
    parts = [_cell(row, name) for name in columns.text]
    label = row.get(columns.label)
    return Example(
        id=default_id if columns.id is None else _cell(row, columns.id),
        document="\n\n".join(part for part in parts if part),
        question="" if columns.question is None else _cell(row, columns.question),
        label=label if label is not None and label.strip() else None,
        explanation=None if columns.explanation is None else _cell(row, columns.explanation) or None,
        groups=tuple(f"{name}:{_cell(row, name)}" for name in columns.group if _cell(row, name)),
        metadata={name: _cell(row, name) or None for name in columns.subgroups},
    )


def _cell(row: Row, name: str) -> str:
    value = row.get(name)
    return "" if value is None else value.strip()


def _describe(name: str, rule: str, problems: _Problems, advice: str) -> str | None:
    """One line on all rows with the same problem; None if there are none."""
    if not problems.count:
        return None
    shown = [f"{_show(value)} ({location})" for location, value in problems.shown]
    if problems.count > len(shown):
        shown.append(f"and {problems.count - len(shown)} more")
    rows = "1 row" if problems.count == 1 else f"{problems.count} rows"
    return f"{name} must be {rule}; got, in {rows}, {'; '.join(shown)}. {advice}"


def _show(value: str) -> str:
    """A short value; a long one may be a text under an access agreement, mapped by mistake, and is not quoted."""
    return repr(value) if len(value) <= _MAX_VALUE_CHARACTERS else f"a value of {len(value)} characters"
