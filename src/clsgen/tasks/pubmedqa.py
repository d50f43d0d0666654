"""PubMedQA (expert-labelled part): does the abstract, without its conclusion, answer the question in its title?

The conclusion is the explanation and no part of the document. Two layouts are read: `train.jsonl.gz` and
`validation.jsonl.gz` (test), and the publisher's `ori_pqal.json` (github.com/pubmedqa/pubmedqa), where the rows named
in `test_ground_truth.json` are the test rows; without that file a test role is carved from all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clsgen.config.data import DataSettings
from clsgen.data.source import read_rows
from clsgen.errors import DataError
from clsgen.tasks.files import cell, find_layout, known_label, read_json
from clsgen.types import Example, TaskData, TaskSpec

SPEC = TaskSpec(
    name="pubmedqa",
    labels=("yes", "no", "maybe"),
    instruction="Answer the question below from this abstract: yes, no or maybe.",
    proxies=("label_no_context", "label_with_context_1annot", "reasoning_required_pred", "reasoning_free_pred"),
)
_LINES = ("train.jsonl.gz", "validation.jsonl.gz")
_PUBLISHED, _PUBLISHED_TEST = "ori_pqal.json", "test_ground_truth.json"


def load(settings: DataSettings) -> TaskData:
    """The rows of either layout; rows without a context are left out and counted as `empty_text`.

    Args:
        settings: Read is root.

    Raises:
        DataError: Missing files, or a row of another kind.
    """
    layouts = {"lines": _LINES, "publisher": (_PUBLISHED,)}
    layout, folder = find_layout(SPEC.name, settings.root, layouts=layouts, subfolders=(SPEC.name, "data"))
    train, test = _from_lines(folder) if layout == "lines" else _from_published(folder)
    kept = [tuple(row for row in rows if row.document) for rows in (train, test)]
    num_dropped = len(train) + len(test) - len(kept[0]) - len(kept[1])
    return TaskData(SPEC, kept[0], kept[1], {"empty_text": num_dropped} if num_dropped else {})


def _from_lines(folder: Path) -> tuple[list[Example], list[Example]]:
    train, test = (
        [
            _example(
                cell(row, "pmid", where),
                cell(row, "context", where),
                question=cell(row, "question", where),
                label=known_label(cell(row, "label", where), SPEC.labels, where),
                conclusion=cell(row, "explanation", where),
            )
            for where, row in read_rows(str(folder / name))
        ]
        for name in _LINES
    )
    return train, test


def _from_published(folder: Path) -> tuple[list[Example], list[Example]]:
    truth = folder / _PUBLISHED_TEST
    test_ids = set(_object(truth)) if truth.is_file() else set()
    train: list[Example] = []
    test: list[Example] = []
    for pmid, example in _published_rows(folder / _PUBLISHED):
        (test if pmid in test_ids else train).append(example)
    return train, test


def _published_rows(path: Path) -> Iterator[tuple[str, Example]]:
    for pmid, row in _object(path).items():
        where = f"{path}: row {pmid}"
        if not isinstance(row, dict):
            raise DataError(f"{where}: row must be an object; got a {type(row).__name__}. Correct the row.")
        contexts, headings = row.get("CONTEXTS"), row.get("LABELS")
        if not isinstance(contexts, list) or not isinstance(headings, list) or len(contexts) != len(headings):
            raise DataError(f"{where}: CONTEXTS and LABELS must be lists of one length. Correct the row.")
        yield (
            pmid,
            _example(
                pmid,
                " ".join(f"{heading}: {context}" for heading, context in zip(headings, contexts, strict=True)),
                question=cell(row, "QUESTION", where),
                label=known_label(cell(row, "final_decision", where), SPEC.labels, where),
                conclusion=cell(row, "LONG_ANSWER", where),
            ),
        )


def _example(pmid: str, context: str, *, question: str, label: str, conclusion: str) -> Example:
    return Example(
        id=f"pmid-{pmid}",
        document=context,
        question=question,
        label=label,
        explanation=conclusion or None,
        groups=(f"pmid:{pmid}",),
    )


def _object(path: Path) -> Mapping[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise DataError(f"{path}: file must hold one JSON object; got a {type(value).__name__}. Check the file.")
    return value
