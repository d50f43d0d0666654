"""Anybody's probabilities as columns of a csv, tsv or parquet file; ten million rows are arrays, never objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from clsgen.data.predictions import SUM_TOLERANCE
from clsgen.errors import DataError

ABSENT = -1
_BINARY = {"0", "1"}


class ScoreColumns(NamedTuple):
    """Which column is what.

    Attributes:
        prob: Label -> column of its probability; one entry "" of two classes: that of the positive label alone.
        label: Column of the known label; an empty cell is a row without label.
        group: Column that ties rows together; None: each row stands alone.
        id: Column of the id; None: rows have none.
        positive: Two classes: the positive label; None: 1, of labels 0 and 1 alone.
        by: Columns that the rows are judged by apart.
    """

    prob: Mapping[str, str]
    label: str
    group: str | None = None
    id: str | None = None
    positive: str | None = None
    by: tuple[str, ...] = ()


class Scores(NamedTuple):
    """A file's rows, N of them, of C labels.

    Attributes:
        labels: The labels in the order of the columns; with one column of probabilities the positive one is second.
        positive: The positive label of two; None with more.
        prob_NC: Probabilities.
        label_N: Class indices, -1 where unlabelled.
        group_N: Indices of groups, in the order of their names; of rows, where there are no groups.
        by: Name -> value of each row, as text, of what they are judged by apart.
    """

    labels: tuple[str, ...]
    positive: str | None
    prob_NC: NDArray[np.float64]
    label_N: NDArray[np.int64]
    group_N: NDArray[np.int64]
    by: Mapping[str, Sequence[str | None]]


def read_scores(path: Path, columns: ScoreColumns) -> Scores:
    """Read the columns, and check every value.

    Raises:
        DataError: A missing file or column, a probability that is none, probabilities that do not add up to 1, an
            unknown label, an empty group, an id twice; the first such row is named.
    """
    names = [*columns.prob.values(), columns.label, columns.group, columns.id, *columns.by]
    table = _read(path, [name for name in names if name is not None], set(columns.prob.values()))
    given = _text(table, columns.label)
    labels, positive = _labels(path, columns, given)
    prob = np.stack([_numbers(path, table, name) for name in columns.prob.values()], axis=1)
    if prob.shape[1] == 1:
        prob = np.concatenate([1 - prob, prob], axis=1)
    else:
        _check_sums(path, prob)
    index_of = pyarrow.array(labels, type=pyarrow.string())
    found = pyarrow.compute.index_in(given, value_set=index_of).to_numpy(zero_copy_only=False)
    label_N = np.nan_to_num(found.astype(np.float64), nan=ABSENT).astype(np.int64)
    if columns.id is not None:
        _check_ids(path, _text(table, columns.id), columns.id)
    tying = columns.group or columns.id  # so that the order of the rows changes nothing
    group_N = np.arange(len(prob)) if tying is None else _groups(path, _text(table, tying), columns)
    by = {name: _text(table, name).to_pylist() for name in columns.by}
    return Scores(labels, positive, prob, label_N, group_N, by)


def _read(path: Path, names: Sequence[str], numbers: set[str]) -> Any:
    """The columns as an Arrow table: probabilities as float64, all else as text."""
    if not path.is_file():
        raise DataError(f"{path}: the file must be there; it is not. Check the path.")
    types = {name: pyarrow.float64() if name in numbers else pyarrow.string() for name in names}
    suffix = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    try:
        if suffix == "parquet":
            present = pyarrow.parquet.read_schema(path).names
            _check_names(path, names, present)
            table = pyarrow.parquet.read_table(path, columns=list(dict.fromkeys(names)))
            table = pyarrow.table({name: _without_nan(table.column(name)) for name in table.column_names})
            fields = [(name, types[name]) for name in table.column_names]
            table = table.cast(pyarrow.schema(fields))
        elif suffix in ("csv", "tsv"):
            delimiter = "\t" if suffix == "tsv" else ","
            options = pyarrow.csv.ConvertOptions(
                column_types=types, include_columns=list(dict.fromkeys(names)), strings_can_be_null=True,
                null_values=[""], include_missing_columns=False,
            )  # fmt: skip
            parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
            _check_names(path, names, pyarrow.csv.open_csv(path, parse_options=parse).schema.names)
            table = pyarrow.csv.read_csv(path, parse_options=parse, convert_options=options)
        else:
            raise DataError(f"{path}: the file must be csv, tsv or parquet; got .{suffix}. Convert it.")
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: the file must be readable as columns; {error}. Repair it.") from error
    if not table.num_rows:
        raise DataError(f"{path}: the file must hold at least one row; got none.")
    return table


def _without_nan(column: Any) -> Any:
    """A column of numbers in which those that are none are absent, as a data frame writes them."""
    if not pyarrow.types.is_floating(column.type):
        return column
    return pyarrow.compute.if_else(pyarrow.compute.is_nan(column), pyarrow.scalar(None, column.type), column)


def _check_names(path: Path, names: Sequence[str], present: Sequence[str]) -> None:
    for name in names:
        if name not in present:
            raise DataError(f"{path}: the column {name!r} must be there; got {list(present)}. Name another.")
        if list(present).count(name) > 1:
            raise DataError(f"{path}: the column {name!r} must be there once; got {list(present)}. Rename one.")


def _text(table: Any, name: str) -> Any:
    return table.column(name).combine_chunks()


def _numbers(path: Path, table: Any, name: str) -> NDArray[np.float64]:
    values = table.column(name).to_numpy().astype(np.float64)
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        raise DataError(
            f"{path}: {name} must be a number from 0 to 1 in every row; got {float(values[wrong[0]])!r} in row "
            f"{wrong[0] + 1} ({len(wrong)} such rows). Repair them or leave them out."
        )
    return np.asarray(values)


def _labels(path: Path, columns: ScoreColumns, given: Any) -> tuple[tuple[str, ...], str | None]:
    """The labels in the order of the probabilities, and the positive one of two."""
    present = sorted(value for value in pyarrow.compute.unique(given).to_pylist() if value is not None)
    if list(columns.prob) != [""]:
        labels = tuple(columns.prob)
        unknown = [label for label in present if label not in labels]
        if len(labels) < 2 or unknown:
            raise DataError(
                f"{path}: {columns.label} must be one of the labels with a probability, {list(labels)}; "
                f"got {unknown[:3] or present}. Give a probability for every label."
            )
        positive = (columns.positive or _one(labels)) if len(labels) == 2 else None
        if len(labels) == 2 and positive is None:
            raise DataError(f"{path}: positive must say which of the labels {list(labels)} is reported.")
    else:
        positive = columns.positive or _one(present)
        if positive is None:
            raise DataError(
                f"{path}: positive must say which label the probability is of; {columns.label} holds {present[:5]}."
            )
        if present and positive not in present and not {positive, *present} <= _BINARY:
            raise DataError(f"{path}: positive must be a label of {columns.label}, {present[:5]}; got {positive!r}.")
        others = [label for label in present if label != positive]
        if len(others) > 1:
            raise DataError(
                f"{path}: {columns.label} must hold two labels beside one column of probabilities; "
                f"got {[positive, *others[:4]]}. Name a column for every label: --prob LABEL=COLUMN; or leave the "
                "cells of unlabelled rows empty."
            )
        negative = others[0] if others else ("0" if positive == "1" else f"not {positive}")
        labels = (negative, positive)
    if columns.positive is not None and (positive is None or columns.positive not in labels):
        raise DataError(f"{path}: positive must be one of two labels; got {columns.positive!r} with {list(labels)}.")
    return labels, positive


def _one(labels: Sequence[str]) -> str | None:
    """The positive label where nobody said which."""
    return "1" if set(labels) <= _BINARY else None


def _check_sums(path: Path, prob_NC: NDArray[np.float64]) -> None:
    wrong = np.flatnonzero(np.abs(prob_NC.sum(1) - 1) > SUM_TOLERANCE)
    if len(wrong):
        raise DataError(
            f"{path}: the probabilities of a row must add up to 1; got {float(prob_NC[wrong[0]].sum())!r} in row "
            f"{wrong[0] + 1} ({len(wrong)} such rows). Give one of every label."
        )


def _check_ids(path: Path, ids: Any, name: str) -> None:
    counts = pyarrow.compute.value_counts(ids)
    twice = counts.filter(pyarrow.compute.greater(counts.field("counts"), 1))
    if ids.null_count or len(twice):
        got = f"{ids.null_count} empty" if ids.null_count else f"{twice[0]['values'].as_py()!r} more than once"
        raise DataError(f"{path}: {name} must hold every id once; got {got}. Remove such rows, or name no id.")


def _groups(path: Path, groups: Any, columns: ScoreColumns) -> NDArray[np.int64]:
    if groups.null_count:
        row = int(np.flatnonzero(groups.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(
            f"{path}: {columns.group} must be given in every row; row {row + 1} has none ({groups.null_count} such "
            "rows). A row that stands alone has a group of its own."
        )
    encoded = groups.dictionary_encode()
    order = pyarrow.compute.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return np.asarray(rank[encoded.indices.to_numpy()])
