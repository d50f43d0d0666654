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
LocatedExample = tuple[str, Example]

NUM_LOCATIONS_SHOWN = 5
_MAX_VALUE_CHARACTERS = 40


class ReadExamples(NamedTuple):
    """What a file gave: its examples in order, and reason -> number of rows left out."""

    examples: tuple[Example, ...]
    dropped: dict[str, int]


class _Problem(NamedTuple):
    location: str
    value: str


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


def map_rows(
    path: str, rows: Iterable[LocatedRow], *, columns: ColumnSettings, labels: Sequence[str] | None, id_prefix: str
) -> ReadExamples:
    """The rows as examples; a row whose document is blank is left out and counted as `empty_text`.

    A blank label, explanation, question or group value counts as none. Labels are otherwise taken letter for
    letter: "yes" and "yes " are two classes.

    Args:
        path: Names the source in messages.
        rows: (location, row) pairs.
        columns: The mapping; every column is known to occur.
        labels: The known labels; None: any.
        id_prefix: Ids are "<id_prefix>-<n>" (n from 1, dropped rows included) where no id column is mapped.

    Raises:
        DataError: Blank or duplicate ids and unknown labels, with the first locations of each and a count.
    """
    rows = list(rows)
    for location, row in rows:
        if not all(is_unicode(value) for value in row.values() if value is not None):
            raise DataError(f"{location}: text must be valid Unicode; it holds half a surrogate pair. Correct the row.")
    located = [
        (location, _example(row, columns, default_id=f"{id_prefix}-{number}"))
        for number, (location, row) in enumerate(rows, start=1)
    ]
    problems = [
        _describe("id", "not blank", _blank_ids(located), "Fill the id column, or map none."),
        _describe("id", "unique", _repeated_ids(located), "Remove the repeated rows, or map another id column."),
    ]
    if labels is not None:
        rule = f"one of {', '.join(map(repr, labels))}"
        advice = "Correct the rows, or name every class in data.labels."
        problems.append(_describe("label", rule, _unknown_labels(located, labels), advice))
    found = [f"{path}: {problem}" for problem in problems if problem is not None]
    if found:
        raise DataError("\n".join(found))
    examples = tuple(example for _, example in located if example.document)
    num_empty = len(located) - len(examples)
    return ReadExamples(examples, {"empty_text": num_empty} if num_empty else {})


def is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8: half a surrogate pair, which JSON can spell, can't."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _example(row: Row, columns: ColumnSettings, *, default_id: str) -> Example:
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


def _blank_ids(located: Sequence[LocatedExample]) -> list[_Problem]:
    return [_Problem(location, "") for location, example in located if not example.id]


def _repeated_ids(located: Sequence[LocatedExample]) -> list[_Problem]:
    first: dict[str, str] = {}
    repeated = []
    for location, example in located:
        if example.id and example.id in first:
            repeated.append(_Problem(f"{location}, first in {first[example.id]}", example.id))
        first.setdefault(example.id, location)
    return repeated


def _unknown_labels(located: Sequence[LocatedExample], labels: Sequence[str]) -> list[_Problem]:
    return [
        _Problem(location, example.label)
        for location, example in located
        if example.label is not None and example.label not in labels
    ]


def _describe(name: str, rule: str, problems: Sequence[_Problem], advice: str) -> str | None:
    """One line on all rows with the same problem; None if there are none."""
    if not problems:
        return None
    shown = [f"{_show(value)} ({location})" for location, value in problems[:NUM_LOCATIONS_SHOWN]]
    if len(problems) > NUM_LOCATIONS_SHOWN:
        shown.append(f"and {len(problems) - NUM_LOCATIONS_SHOWN} more")
    rows = "1 row" if len(problems) == 1 else f"{len(problems)} rows"
    return f"{name} must be {rule}; got, in {rows}, {'; '.join(shown)}. {advice}"


def _show(value: str) -> str:
    """A short value; a long one may be a text under an access agreement, mapped by mistake, and is not quoted."""
    return repr(value) if len(value) <= _MAX_VALUE_CHARACTERS else f"a value of {len(value)} characters"
