"""Own data: any supported file becomes examples and a task, and examples are kept in files of ours."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from clsgen.artifacts import write_text_atomic
from clsgen.config.data import ColumnSettings, DataSettings
from clsgen.data.columns import LocatedRow, ReadExamples, RowMapper
from clsgen.data.formats import RawRow, read_dataset, read_delimited, read_json_lines
from clsgen.data.shards import ShardReader, is_shards, shard_files
from clsgen.errors import DataError
from clsgen.types import Example, TaskSpec

_READERS: dict[str, Callable[[Path], Iterator[tuple[str, RawRow]]]] = {
    ".csv": lambda path: read_delimited(path, ","),
    ".tsv": lambda path: read_delimited(path, "\t"),
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json_lines,
    ".parquet": lambda path: _shard_rows([path]),
}
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
_MAX_FOUND_LABELS = 50
_MAX_LABEL_LENGTH = 100


def read_rows(path: str, *, split: str = "train") -> Iterator[LocatedRow]:
    """Every row of a source as (location, column -> text or None).

    A value is a string as it stands; csv and tsv cells are never converted, so that yes, no, NA, None, 01 and NULL
    stay what they are. Values of typed formats become text as JSON writes them: 1 -> "1", 1.0 -> "1.0",
    True -> "true", a list -> its JSON; null and NaN -> None.

    Args:
        path: csv, tsv, jsonl, ndjson or json (one object a line), each also with .gz; parquet; a directory or a glob of
            parquet or jsonl files; a directory made by `datasets` (`save_to_disk`); or a hub dataset id. A local path
            is tried first.
        split: Split that is read where a `datasets` source has several.

    Raises:
        DataError: No such source, or a file, line or row that can't be read.
    """
    for location, row in _raw_rows(path, split):
        yield location, {name: as_text(value) for name, value in row.items()}


def _raw_rows(path: str, split: str) -> Iterator[tuple[str, RawRow]]:
    if is_shards(path):
        return _shard_rows(shard_files(path))
    local = Path(path)
    suffixes = [suffix.lower() for suffix in local.suffixes]
    suffix = (suffixes[:-1] if suffixes[-1:] == [".gz"] else suffixes)[-1:]
    reader = _READERS.get(suffix[0]) if suffix else None
    if local.is_dir():
        return read_dataset(path, split, is_on_disk=True)
    if local.is_file():
        if reader is None:
            raise DataError(f"{path}: file name must end in one of {sorted(_READERS)} (or .gz of these). Rename it.")
        return reader(local)
    if reader is not None or not _HUB_ID.fullmatch(path):
        raise DataError(f"{path}: data must be an existing file or directory; got neither. Check the path.")
    return read_dataset(path, split, is_on_disk=False)


def _shard_rows(files: Sequence[Path]) -> Iterator[tuple[str, RawRow]]:
    return ((location, row) for location, row, _ in ShardReader(files).rows())


def columns_there(path: str, names: Sequence[str]) -> tuple[str, ...]:
    """Which of some columns a source has, in any of its rows: a jsonl file may leave out what a row lacks.

    Args:
        path: As for `read_rows`.
        names: The columns.

    Raises:
        DataError: As for `read_rows`.
    """
    missing = set(names)
    for _, row in read_rows(path) if missing else ():
        missing -= row.keys()
        if not missing:
            break
    return tuple(name for name in names if name not in missing)


def as_text(value: object) -> str | None:
    """A value as text, spelt as JSON spells it; None for null and NaN.

    >>> [as_text(value) for value in ("01", 1, 1.0, True, None, float("nan"), ["a", 1])]
    ['01', '1', '1.0', 'true', None, None, '["a", 1]']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def read_examples(
    path: str,
    columns: ColumnSettings,
    *,
    labels: Sequence[str] | None = None,
    split: str = "train",
    needs_label: bool = True,
) -> ReadExamples:
    """The rows of a source as examples, and how many were dropped for which reason.

    Several document columns are joined in order by a blank line. Group keys read "column:value".

    Args:
        path: As for `read_rows`.
        columns: Which column is what.
        labels: The known labels; None: any.
        split: Split of a `datasets` source; rows without an id column are called "row-<n>" in train,
            "<split>-row-<n>" elsewhere.
        needs_label: Whether a missing label column is an error; False for rows to predict.

    Raises:
        DataError: A missing column, duplicate or blank ids, unknown labels, or no row with a text.
    """
    mapper = RowMapper(columns, labels=labels, id_prefix="row" if split == "train" else f"{split}-row")
    found = [mapper.example(location, row) for location, row in read_rows(path, split=split)]
    mapper.check(path, needs_label=needs_label)
    return ReadExamples(tuple(example for example in found if example is not None), mapper.dropped)


def source_spec(data: DataSettings, examples: Sequence[Example]) -> TaskSpec:
    """The task of the user's own data.

    Labels are those given, else those that occur, sorted. With two classes the second is positive unless one is
    named. Without an instruction, one is made from the labels.

    Args:
        data: The settings; `train` is set.
        examples: The train rows.

    Raises:
        DataError: Fewer than two labels, repeated or blank ones, a column that holds no class names (more than 50
            values or one of over 100 characters; none is quoted), or a positive label that can't be one.
    """
    found = sorted({example.label for example in examples if example.label is not None})
    labels = tuple(found) if data.labels is None else data.labels
    where = data.train
    if data.labels is None and (len(found) > _MAX_FOUND_LABELS or any(len(each) > _MAX_LABEL_LENGTH for each in found)):
        raise DataError(
            f"{where}: label column {data.columns.label!r} must hold class names; got {len(found)} values, the longest "
            f"of {max(map(len, found))} characters. Check data.columns.label, or name the classes in data.labels."
        )
    if len(labels) < 2 or len(set(labels)) < len(labels) or not all(label.strip() for label in labels):
        raise DataError(
            f"{where}: labels must be two or more, distinct and not blank; got {labels!r}. "
            "Check data.columns.label and data.labels."
        )
    if any(label != label.strip() for label in labels):  # a reason that states one could not be told from another's
        raise DataError(f"{where}: labels must have no white space at their ends; got {labels!r}. Take it off.")
    positive = data.positive
    if len(labels) == 2:
        positive = labels[1] if positive is None else positive
        if positive not in labels:
            raise DataError(f"{where}: data.positive must be one of {labels!r}; got {positive!r}. Name one of them.")
    elif positive is not None:
        raise DataError(f"{where}: data.positive must be null with {len(labels)} classes; got {positive!r}. Remove it.")
    has_question = any(example.question for example in examples)
    return TaskSpec(
        name=Path(str(where)).name.split(".")[0],
        labels=labels,
        instruction=_instruction(labels, has_question=has_question) if data.instruction is None else data.instruction,
        positive=positive,
        is_restricted=data.restricted,
    )


def _instruction(labels: Sequence[str], *, has_question: bool) -> str:
    choices = f"{', '.join(labels[:-1])} or {labels[-1]}"
    subject = "Answer the question about the text above" if has_question else "Classify the text above"
    return f"{subject} as one of: {choices}."


def write_examples(path: Path, examples: Iterable[Example], *, is_restricted: bool) -> None:
    """The examples as JSON lines in path, which is replaced in one step; a failure leaves the old file whole.

    Args:
        path: The file; its folder exists.
        examples: What to write.
        is_restricted: The file is made readable for its owner alone (mode 0600) before the first byte.

    Raises:
        ArtifactError: The file can't be written (a full disk, no permission).
    """
    lines = [json.dumps(_as_record(example), ensure_ascii=False) + "\n" for example in examples]
    write_text_atomic(path, "".join(lines), is_private=is_restricted)


def _as_record(example: Example) -> dict[str, Any]:
    record = {field.name: getattr(example, field.name) for field in fields(Example)}
    return record | {"metadata": dict(example.metadata)}


def load_examples(path: Path) -> tuple[Example, ...]:
    """The examples that `write_examples` wrote.

    Raises:
        DataError: The file can't be read, or a line is not an example.
    """
    examples = []
    for location, record in read_json_lines(path):
        try:
            examples.append(Example(**record | {"groups": tuple(record["groups"])}))
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{location}: line must be an example written by clsgen; got {type(error).__name__}: {error}. "
                "Read other files with read_examples."
            ) from error
    return tuple(examples)
