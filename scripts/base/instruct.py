"""Rows of the last phase: document, instruction, question -> `Reason: ... Answer: ...`, in both modes.

The train role only, as `data.split` deals it by default: a model tuned from this base is calibrated on rows that it has
not seen, and chosen by others. Besides the tasks as they are, claims are made of evidence_inference's rows. CliniFact
is in none of it, and no row whose article CliniFact has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from base.claims import among_others, of_questions, rationales
from base.corpus import clinifact_articles, read_rows, train_rows
from base.item import Item
from clsgen.tasks import esnli, evidence_inference, pubmedqa
from clsgen.types import TaskSpec

COMVE = TaskSpec(
    name="comve",
    labels=("the first", "the second"),
    instruction="One of these two sentences goes against common sense. Decide which: the first or the second.",
)

_OTHER_WORDS = {
    "esnli": (
        "Does the second sentence follow from the first (entailment), contradict it (contradiction), or neither "
        "(neutral)?",
        "Given the description above, judge the statement that comes next: entailment, contradiction or neutral.",
    ),
    "evidence_inference": (
        "What does the text report about this comparison: significantly decreased, no significant difference, or "
        "significantly increased?",
        "Read the question on the trial above and answer with significantly increased, significantly decreased or no "
        "significant difference.",
    ),
    "pubmedqa": ("Does the study answer the question with yes, no or maybe?",),
    "comve": ("Which sentence makes no sense, the first or the second?",),
}


def items(root: Path) -> dict[str, list[Item]]:
    """Every item by source.

    Args:
        root: The data folder.
    """
    trials = _trial_rows(root)
    found = {
        "trial_abstracts": list(_trials(trials, "abstract")),
        "trial_passages": list(_trials(trials, "evidence_context")),
        "claims_abstracts": list(of_questions(trials, "abstract")),
        "claims_passages": list(of_questions(trials, "evidence_context")),
        "claims_among_others": list(among_others(list(of_questions(trials, "evidence_context")))),
        "esnli": list(_esnli(root)),
        "comve": list(_comve(root)),
        "pubmedqa": list(_pubmedqa(root)),
    }
    return {source: [item.cleaned() for item in rows] for source, rows in found.items()}


def article_licences(root: Path) -> dict[str, str]:
    """Article -> licence, of the labelled rows of evidence_inference that are learned from."""
    return {row["pmcid"]: row["article_licence"] for row in _trial_rows(root)}


def varied(item: Item, generator: np.random.Generator) -> Item:
    """The item under another wording of its instruction, half of the time."""
    others = _OTHER_WORDS.get(item.spec.name, ())
    if not others or generator.random() < 0.5:
        return item
    return replace(item, spec=replace(item.spec, instruction=str(generator.choice(others))))


def _trial_rows(root: Path) -> list[dict[str, Any]]:
    banned = clinifact_articles(root)
    return [row for row in train_rows(root, "evidence_inference") if str(row["pmid"]) not in banned]


def _trials(rows: Sequence[dict[str, Any]], source: str) -> Iterator[Item]:
    for row in rows:
        if row[source]:
            document = f"{row['title']}\n\n{row[source]}" if source == "abstract" else row[source]
            spec = evidence_inference.SPEC
            yield Item(spec, document, row["prompt"], row["label"], rationales(row, source), f"pmc:{row['pmcid']}")


def _esnli(root: Path) -> Iterator[Item]:
    for row in train_rows(root, "esnli"):
        if row["premise"]:
            group = f"premise:{row['premise'].lower()}"
            yield Item(esnli.SPEC, row["premise"], row["hypothesis"], row["label"], tuple(row["explanations"]), group)


def _comve(root: Path) -> Iterator[Item]:
    sentences = ("sent0", "sent1")
    tested = {row[name].lower() for row in read_rows(root, "comve", "validation") for name in sentences}
    for row in read_rows(root, "comve", "train"):
        if not tested.isdisjoint(row[name].lower() for name in sentences):
            continue
        label = COMVE.labels[0 if row["label"] == "sent0" else 1]
        text = f"First: {row['sent0']}\nSecond: {row['sent1']}"
        yield Item(COMVE, text, "", label, tuple(row["explanations"]), row["id"])


def _pubmedqa(root: Path) -> Iterator[Item]:
    for row in train_rows(root, "pubmedqa"):
        yield Item(pubmedqa.SPEC, row["context"], row["question"], row["label"], (row["explanation"],), row["id"])
