"""A reader of reasons: which label a text argues for, judged by the text alone, its stated answer cut.

A bag of words fitted on the reasons of the train rows: how the label is recovered blind where no judge is at hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clsgen.baselines.tfidf import fit_tfidf
from clsgen.types import Example, TaskSpec

MIN_REASONS = 20
"""Reasons of each label, in train, below which no reader is fitted."""


def recovered_labels(
    train: Sequence[Example], validation: Sequence[Example], reasons: Mapping[str, str], spec: TaskSpec
) -> dict[str, str] | None:
    """The likeliest label of each written reason; None where train or validation rows have too few reasons to learn by.

    Args:
        train: Rows with reasons and labels; the reader is fitted on these reasons.
        validation: Rows with reasons and labels; they choose the reader's settings.
        reasons: Written reasons by id, without the answer that they state.
        spec: The task.
    """
    fitted, chosen = _texts(train), _texts(validation)
    if any(sum(row.label == label for row in fitted) < MIN_REASONS for label in spec.labels):
        return None
    if {row.label for row in chosen} != set(spec.labels):
        return None
    reader = fit_tfidf(fitted, chosen, spec)
    rows = [Example(id_, reason) for id_, reason in reasons.items()]
    found = reader.logits(rows).argmax(axis=1)
    return {row.id: spec.labels[index] for row, index in zip(rows, found, strict=True)}


def _texts(rows: Sequence[Example]) -> list[Example]:
    """Reasons as documents."""
    return [
        replace(row, document=row.explanation, question="", explanation=None)
        for row in rows
        if row.explanation and row.label is not None
    ]
