"""CliniFact: does the abstract support the claim of a clinical trial?

Two layouts are read: `train.jsonl.gz` and `validation.jsonl.gz`, and the publisher's `train_set.csv` and
`validation_set.csv` (github.com/ds4dh/CliniFact, data/processed/primary_outcome_publication_dataset). Either way the
published validation file is the test role, so that both give the same figures; `test_set.csv` is not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from clsgen.config.data import DataSettings
from clsgen.data.source import read_rows
from clsgen.tasks.files import FoundFiles, cell, find_layout, known_label
from clsgen.types import Example, TaskData, TaskSpec

_PROXIES = (
    "p_values",
    "statistical_methods",
    "hypothesis_type",
    "pValues",
    "statisticalMethods",
    "nonInferiorityTypes",
)
SPECS: Mapping[str | None, TaskSpec] = MappingProxyType(
    {
        None: TaskSpec(
            name="clinifact",
            labels=("TRUE", "FALSE", "NONE"),
            instruction="Decide whether this abstract shows that the claim below holds (TRUE), reports on it without "
            "showing that it holds (FALSE), or says nothing about it (NONE).",
            proxies=_PROXIES,
        ),
        "binary": TaskSpec(
            name="clinifact",
            labels=("NOT_TRUE", "TRUE"),
            instruction="Decide whether this abstract shows that the claim below holds (TRUE) or not (NOT_TRUE).",
            positive="TRUE",
            proxies=_PROXIES,
        ),
        "decided": TaskSpec(
            name="clinifact",
            labels=("FALSE", "TRUE"),
            instruction="This abstract reports on the claim below. Decide whether it shows that the claim holds (TRUE) "
            "or not (FALSE).",
            positive="TRUE",
            proxies=_PROXIES,
        ),
    }
)
VARIANTS = ("binary", "decided")
_LABELS: Mapping[str | None, Mapping[str, str]] = MappingProxyType(
    {
        None: {"TRUE": "TRUE", "FALSE": "FALSE", "NONE": "NONE"},
        "binary": {"TRUE": "TRUE", "FALSE": "NOT_TRUE", "NONE": "NOT_TRUE"},
        "decided": {"TRUE": "TRUE", "FALSE": "FALSE"},
    }
)
"""Variant -> published label -> label; a label that is not there is left out."""
_LAYOUTS = {
    "lines": ("train.jsonl.gz", "validation.jsonl.gz"),
    "publisher": ("train_set.csv", "validation_set.csv"),
}
_SUBFOLDERS = ("clinifact", "data/processed/primary_outcome_publication_dataset")
_LABEL_BY_CODE = {"0": "FALSE", "1": "TRUE", "2": "NONE"}
_RELATIONS = {
    "['Superiority']": "superior",
    "['Superiority or Other']": "superior or other",
    "['Non-Inferiority']": "non-inferior",
    "['Non-Inferiority or Equivalence']": "non-inferior or equivalent",
    "['Equivalence']": "equivalent",
}


def files(root: str | None) -> FoundFiles:
    """Which layout is there, and where.

    Raises:
        DataError: None is; the message says which files are missing.
    """
    return find_layout("clinifact", root, layouts=_LAYOUTS, subfolders=_SUBFOLDERS)


def load(settings: DataSettings) -> TaskData:
    """The rows; `decided` leaves out those whose label is NONE and counts them as `label_NONE`.

    Args:
        settings: Read are root and variant (None, binary or decided).

    Raises:
        DataError: Missing files, or a row that is not CliniFact's.
    """
    layout, folder = files(settings.root)
    convert = _from_line if layout == "lines" else _from_published
    labels = _LABELS[settings.variant]
    dropped: Counter[str] = Counter()
    roles: list[tuple[Example, ...]] = []
    for name in _LAYOUTS[layout]:
        kept = []
        for where, row in read_rows(str(folder / name)):
            example = convert(row, where)
            reason = _drop_reason(example, labels)
            if reason is None:
                kept.append(replace(example, label=labels[str(example.label)]))
            else:
                dropped[reason] += 1
        roles.append(tuple(kept))
    return TaskData(SPECS[settings.variant], roles[0], roles[1], dict(dropped))


def _drop_reason(example: Example, labels: Mapping[str, str]) -> str | None:
    if not example.document:
        return "empty_text"
    return None if example.label in labels else f"label_{example.label}"


def _from_line(row: Mapping[str, str | None], where: str) -> Example:
    texts = [cell(row, name, where) for name in ("title", "abstract")]
    return Example(
        id=cell(row, "id", where),
        document="\n\n".join(text for text in texts if text),
        question=cell(row, "claim", where),
        label=known_label(cell(row, "label", where), tuple(_LABELS[None]), where),
        groups=_groups(cell(row, "nct_id", where), cell(row, "pmid", where)),
    )


def _from_published(row: Mapping[str, str | None], where: str) -> Example:
    texts = [cell(row, name, where) for name in ("article_title", "article_abstract")]
    code = known_label(cell(row, "label", where), tuple(_LABEL_BY_CODE), where)
    return Example(
        id=f"clinifact-{cell(row, 'index', where)}",
        document="\n\n".join(text for text in texts if text),
        question=_claim(row, where),
        label=_LABEL_BY_CODE[code],
        groups=_groups(cell(row, "nctId", where), cell(row, "PMID", where)),
    )


def _claim(row: Mapping[str, str | None], where: str) -> str:
    """The claim in the publisher's words.

    The relation that is claimed is the kind of hypothesis, which tells something of the label; without it the claim
    would be another one.
    """
    kind = known_label(cell(row, "nonInferiorityTypes", where), tuple(_RELATIONS), where)
    return (
        f"{cell(row, 'intervention_group_title', where)} is {_RELATIONS[kind]} to "
        f"{cell(row, 'comparator_group_title', where)} in terms of {cell(row, 'outcome_title', where)} "
        f"{cell(row, 'outcome_timeFrame', where)}"
    )


def _groups(trial: str, article: str) -> tuple[str, ...]:
    return (f"nct_id:{trial}", f"pmid:{article}")
