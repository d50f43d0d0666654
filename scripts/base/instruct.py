"""Rows of the last phase: document, instruction, question -> `Reason: ... Answer: ...`, in both modes.

The train role only, as `data.split` deals it by default: a model tuned from this base is calibrated on rows that it has
not seen, and chosen by others. Besides the tasks as they are, claims are made of evidence_inference's rows and of trial
abstracts: a claim is judged against the text it comes from, or against the most similar text that it does not come
from. CliniFact is in none of it, and no row whose article CliniFact has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from base.corpus import clinifact_articles, read_rows, train_rows
from clsgen.data.sentences import sentence_spans
from clsgen.tasks import esnli, evidence_inference, pubmedqa
from clsgen.types import TaskSpec


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled text with the reasons that may be given for it; its group is never split between train and watch.

    Attributes:
        spec: What is asked.
        document: What is read.
        question: Claim, hypothesis or question.
        label: One of spec.labels.
        reasons: Explanations, one drawn each time; () trains the decision alone.
        group: Article or premise.
    """

    spec: TaskSpec
    document: str
    question: str
    label: str
    reasons: tuple[str, ...]
    group: str


COMVE = TaskSpec(
    name="comve",
    labels=("the first", "the second"),
    instruction="One of these two sentences goes against common sense. Decide which: the first or the second.",
)

CLAIMS = tuple(
    TaskSpec(name="claim", labels=labels, instruction=instruction)
    for labels, instruction in (
        (
            ("supported", "refuted", "not addressed"),
            "Decide whether this text supports the statement below, refutes it, or does not address it "
            "(supported, refuted or not addressed).",
        ),
        (
            ("TRUE", "FALSE", "NONE"),
            "According to the text above, is the following claim true? Answer TRUE, FALSE, or NONE if the text is "
            "about something else.",
        ),
        (
            ("confirmed", "not confirmed", "unrelated"),
            "Check the claim against the report: confirmed, not confirmed, or unrelated.",
        ),
    )
)

AMONG_WORDS = (300, 1000)
"""Words of a document of several passages, at least."""

_CLAIM_WORDS = (
    "{intervention} is superior or other to {comparator} in terms of {outcome}",
    "{intervention} differs significantly from {comparator} in {outcome}",
    "{intervention} has an effect on {outcome} compared with {comparator}.",
    "There is a difference between {intervention} and {comparator} with respect to {outcome}.",
)
_UNRELATED_WORDS = (
    "The text does not report {outcome} for {intervention}.",
    "Nothing in this text compares {intervention} with {comparator}.",
    "The text is about another question and says nothing of {intervention} and its effect on {outcome}.",
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
        "claims_abstracts": list(_claims(trials, "abstract")),
        "claims_passages": list(_claims(trials, "evidence_context")),
        "claims_among_others": list(_among_others(list(_claims(trials, "evidence_context")))),
        "esnli": list(_esnli(root)),
        "comve": list(_comve(root)),
        "pubmedqa": list(_pubmedqa(root)),
    }
    return {source: [_clean(item) for item in rows] for source, rows in found.items()}


def article_licences(root: Path) -> dict[str, str]:
    """Article -> licence, of the labelled rows of evidence_inference that are learned from."""
    return {row["pmcid"]: row["article_licence"] for row in _trial_rows(root)}


def conclusions(abstracts: Sequence[str]) -> list[Item]:
    """Claims made of trial abstracts: the first sentence of the conclusion against the abstract without it.

    Args:
        abstracts: Documents of the corpus, cleared of everything held out.
    """
    parts = [
        match
        for text in abstracts
        if (match := re.match(r"(.{400,}?)\bCONCLUSIONS?\s*[:.]\s*(.{40,})", text, re.S | re.I))
    ]
    documents = [part[1].strip() for part in parts]
    claims = [part[2][slice(*sentence_spans(part[2])[0])] for part in parts]
    nearest = _nearest(documents)
    made = []
    for index, (document, claim) in enumerate(zip(documents, claims, strict=True)):
        spec = CLAIMS[index % len(CLAIMS)]
        group = f"conclusion:{index}"
        made.append(Item(spec, document, claim, spec.labels[0], _closest(document, claim), group))
        other = documents[nearest[index]]
        made.append(Item(spec, other, claim, spec.labels[2], ("The text reports another study.",), group))
    return [_clean(item) for item in made]


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
            yield Item(spec, document, row["prompt"], row["label"], _rationales(row, source), f"pmc:{row['pmcid']}")


def _rationales(row: dict[str, Any], source: str) -> tuple[str, ...]:
    """The doctors' marks that stand in the text that is read, of a readable length."""
    return tuple(mark for mark in row["rationales"] if mark in row[source] and 6 <= len(mark.split()) <= 70)


def _claims(rows: Sequence[dict[str, Any]], source: str) -> Iterator[Item]:
    rows = [row for row in rows if row[source] and (source != "abstract" or row["rationale_in_abstract"])]
    nearest = _nearest([row[source] for row in rows], keys=[row["pmcid"] for row in rows])
    for index, row in enumerate(rows):
        spec = CLAIMS[index % len(CLAIMS)]
        words = {name: row[name] for name in ("intervention", "comparator", "outcome")}
        claim = _CLAIM_WORDS[index % len(_CLAIM_WORDS)].format(**words)
        is_true = row["label"] != "no significant difference"
        group = f"pmc:{row['pmcid']}"
        yield Item(spec, row[source], claim, spec.labels[0 if is_true else 1], _rationales(row, source), group)
        unrelated = tuple(text.format(**words) for text in _UNRELATED_WORDS)
        yield Item(spec, rows[nearest[index]][source], claim, spec.labels[2], unrelated, group)


def _among_others(claims: Sequence[Item]) -> Iterator[Item]:
    """Claims whose passage stands among those of other articles: what decides is far from where it is decided."""
    generator = np.random.default_rng(0)
    for item in claims:
        parts, num_words = [item.document], int(generator.integers(*AMONG_WORDS))
        while sum(len(part.split()) for part in parts) < num_words:
            other = claims[int(generator.integers(len(claims)))]
            if other.group != item.group:
                parts.insert(int(generator.integers(len(parts) + 1)), other.document)
        yield replace(item, document="\n\n".join(parts))


def _nearest(documents: Sequence[str], keys: Sequence[str] | None = None) -> list[int]:
    """For each document the most similar one of another key."""
    matrix = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2).fit_transform(documents)
    likeness = np.asarray((matrix @ matrix.T).todense())
    names = np.asarray(keys if keys is not None else range(len(documents)))
    likeness[names[:, None] == names[None]] = -1
    return [int(index) for index in likeness.argmax(1)]


def _closest(document: str, claim: str) -> tuple[str, ...]:
    """The sentence of the document that shares most words with the claim."""
    wanted = set(re.findall(r"\w{4,}", claim.lower()))
    sentences = [document[slice(*span)] for span in sentence_spans(document)]
    sentences = [text for text in sentences if 8 <= len(text.split()) <= 60]
    if not sentences:
        return ()
    return (max(sentences, key=lambda text: len(wanted & set(re.findall(r"\w{4,}", text.lower())))),)


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


def _clean(item: Item) -> Item:
    reasons = tuple(" ".join(reason.split()) for reason in item.reasons if reason.strip() and "\ufffd" not in reason)
    return replace(item, reasons=reasons)
