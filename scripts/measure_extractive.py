"""How often the extractive teacher quotes what truly carries the label, on train rows.

    python scripts/measure_extractive.py

Evidence Inference (train rows whose rationale stands in the abstract): a quote shares a run of words with what a
doctor marked. Generated notes: a quote holds one of the true causes that speak for the label. Both as the share of rows
with at least one such quote, and as the share of quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from clsgen.config.data import DataSettings
from clsgen.data.teacher.extractive import ExtractiveTeacher
from clsgen.tasks import evidence_inference, synthetic
from clsgen.types import Example, TaskSpec

_RUN_WORDS = 6
"""A quote that shares this many words in a row with a doctor's mark is of the same sentence."""


def main() -> None:
    """Print both."""
    rows = evidence_inference.load(DataSettings(task="evidence_inference")).train
    marked = [row for row in rows if row.explanation]
    marks = {row.id: str(row.explanation) for row in marked}
    show(
        "evidence_inference", rows, marked, evidence_inference.SPEC, lambda row, quote: shares_run(quote, marks[row.id])
    )
    for prevalence in (0.3, 0.1):
        notes = synthetic.generate_notes(1500, length="short", prevalence=prevalence, seed=1)
        show(f"notes, prevalence {prevalence}", notes, notes, synthetic.SPEC, holds_cause)


def show(
    name: str,
    rows: Sequence[Example],
    judged: Sequence[Example],
    spec: TaskSpec,
    is_right: Callable[[Example, str], bool],
) -> None:
    """Fit on all rows, explain those that can be judged, print the shares."""
    teacher = ExtractiveTeacher.fit([replace(row, explanation=None) for row in rows], spec)
    num_rows = num_quotes = num_right = num_explained = 0
    for row in judged:
        quotes = re.findall('"([^"]+)"', teacher.explain(row) or "")
        hits = [is_right(row, quote) for quote in quotes]
        num_explained += bool(quotes)
        num_rows += any(hits)
        num_quotes += len(quotes)
        num_right += sum(hits)
    print(
        f"{name}: {len(judged)} rows, {num_explained} explained; a true quote in {num_rows / len(judged):.1%}; "
        f"{num_right / num_quotes:.1%} of {num_quotes} quotes are true"
    )


def shares_run(quote: str, mark: str) -> bool:
    """Whether the two have a run of words in common."""
    first, second = (re.findall(r"\w+", text.lower()) for text in (quote, mark))
    size = min(_RUN_WORDS, len(first), len(second))
    runs = {tuple(second[start : start + size]) for start in range(len(second) - size + 1)}
    return any(tuple(first[start : start + size]) in runs for start in range(len(first) - size + 1))


def holds_cause(note: Example, quote: str) -> bool:
    """Whether the quote states a finding that moves the risk towards the label."""
    raises = note.label == "died"
    return any(
        cause["fact"].lower() in quote.lower()
        for cause in note.metadata["causes"]
        if (cause["contribution"] > 0) == raises
    )


if __name__ == "__main__":
    main()
