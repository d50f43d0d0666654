"""e-SNLI: does one sentence follow from another, contradict it, or neither, with a reason written by people?

Two layouts are read: `train.jsonl.gz` and `validation.jsonl.gz` (test), and the publisher's parallel text files
(github.com/OanaMariaCamburu/e-SNLI, dataset/eSNLI): the `.dev` files are the train pool, the `.test` files the test
rows where they are there, else a test role is carved. The first explanation of a row is its explanation.
"""

from __future__ import annotations

from pathlib import Path

from clsgen.config.data import DataSettings
from clsgen.data.source import read_rows
from clsgen.data.ties import normalized
from clsgen.errors import DataError
from clsgen.tasks.files import cell, find_layout, known_label
from clsgen.types import Example, TaskData, TaskSpec

SPEC = TaskSpec(
    name="esnli",
    labels=("entailment", "neutral", "contradiction"),
    instruction="Decide whether the sentence below follows from this text (entailment), contradicts it "
    "(contradiction), or neither (neutral).",
)
_LINES = ("train.jsonl.gz", "validation.jsonl.gz")
_COLUMNS = ("s1", "s2", "labels", "preproc1_expl_1")


def load(settings: DataSettings) -> TaskData:
    """The rows of either layout; rows without a premise are left out and counted as `empty_text`.

    Args:
        settings: Read is root.

    Raises:
        DataError: Missing files, files of unequal length, or an unknown label.
    """
    layouts = {"lines": _LINES, "publisher": tuple(f"{name}.dev" for name in _COLUMNS)}
    layout, folder = find_layout(SPEC.name, settings.root, layouts=layouts, subfolders=(SPEC.name, "dataset/eSNLI"))
    if layout == "lines":
        train, test = (_from_lines(folder / name) for name in _LINES)
    else:
        has_test = all((folder / f"{name}.test").is_file() for name in _COLUMNS)
        train, test = _from_columns(folder, "dev"), _from_columns(folder, "test") if has_test else []
    kept = [tuple(row for row in rows if row.document) for rows in (train, test)]
    num_dropped = len(train) + len(test) - len(kept[0]) - len(kept[1])
    return TaskData(SPEC, kept[0], kept[1], {"empty_text": num_dropped} if num_dropped else {})


def _from_lines(path: Path) -> list[Example]:
    columns = ("id", "premise", "hypothesis", "label", "explanation")
    return [_example([cell(row, name, where) for name in columns], where) for where, row in read_rows(str(path))]


def _from_columns(folder: Path, part: str) -> list[Example]:
    columns = [(folder / f"{name}.{part}").read_text(encoding="utf-8").rstrip("\n").split("\n") for name in _COLUMNS]
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise DataError(
            f"{folder}: {', '.join(f'{name}.{part}' for name in _COLUMNS)} must have as many lines as each other; "
            f"got {lengths!r}. Check that they are whole."
        )
    return [
        _example([f"esnli-{part}-{number}", *map(str.strip, cells)], f"{folder / f'labels.{part}'}:{number + 1}")
        for number, cells in enumerate(zip(*columns, strict=True))
    ]


def _example(cells: list[str], where: str) -> Example:
    row_id, premise, hypothesis, label, explanation = cells
    return Example(
        id=row_id,
        document=premise,
        question=hypothesis,
        label=known_label(label, SPEC.labels, where),
        explanation=explanation or None,
        groups=(f"premise:{normalized(premise)}",),
    )
