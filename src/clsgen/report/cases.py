"""Single rows worth reading: confident mistakes, and texts that contradict the probability."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from clsgen.data.explanations import quote_spans, quotes
from clsgen.report.results import Results
from clsgen.types import Example, Prediction

NUM_EACH = 20
"""Rows that are shown of each kind unless told otherwise."""


class Piece(NamedTuple):
    """A stretch of a document, and whether the explanation quotes it."""

    text: str
    is_quoted: bool


class Case(NamedTuple):
    """One row.

    kinds: why it is shown. document: in pieces; () where texts may not be shown. Probabilities and labels stand in
    the prediction, whose explanation is not to be shown where texts may not be.
    """

    kinds: tuple[str, ...]
    prediction: Prediction
    document: tuple[Piece, ...]
    reference: str | None


KINDS = {
    "false-positive": "false positives",
    "false-negative": "false negatives",
    "wrong": "wrong decisions",
    "disagreement": "text against decision",
    "undecided": "left undecided",
}


def cases(results: Results, num_each: int) -> list[Case]:
    """Rows of each kind, the most confident mistakes first, each row once with all its kinds.

    Args:
        results: The run.
        num_each: Most rows of a kind.
    """
    examples = {example.id: example for example in results.test}
    kinds: dict[str, list[str]] = {}
    for kind, belongs in _tests(results).items():
        chosen = sorted(filter(belongs, results.predictions), key=lambda row: (-row.probs[row.decision], row.id))[
            :num_each
        ]
        for row in chosen:
            kinds.setdefault(row.id, []).append(kind)
    of = {row.id: row for row in results.predictions}
    return [_case(results, of[id_], examples.get(id_), tuple(found)) for id_, found in kinds.items()]


def num_of_kind(results: Results) -> dict[str, int]:
    """How many rows there are of each kind; a kind without rows is left out."""
    counts = {kind: sum(map(belongs, results.predictions)) for kind, belongs in _tests(results).items()}
    return {kind: number for kind, number in counts.items() if number}


def _tests(results: Results) -> dict[str, Callable[[Prediction], bool]]:
    positive = results.spec.positive

    def is_wrong(row: Prediction) -> bool:
        return row.label is not None and row.decision != row.label

    tests: dict[str, Callable[[Prediction], bool]] = {"wrong": is_wrong}
    if positive is not None:
        tests = {
            "false-positive": lambda row: is_wrong(row) and row.decision == positive,
            "false-negative": lambda row: is_wrong(row) and row.decision != positive,
        }
    return tests | {
        "disagreement": lambda row: row.agreement is False,
        "undecided": lambda row: row.abstained is True,
    }


def _case(results: Results, row: Prediction, example: Example | None, kinds: tuple[str, ...]) -> Case:
    if example is None or not results.shows_text:
        return Case(kinds, row, (), None)
    return Case(kinds, row, tuple(highlighted(example.document, row.explanation or "")), example.explanation)


def highlighted(document: str, explanation: str) -> list[Piece]:
    r"""The document in pieces, those that the explanation quotes marked; letter case and white space aside.

    >>> [tuple(piece) for piece in highlighted("He is well. No benefit was\nseen.", 'It says "no benefit was seen".')]
    [('He is well. ', False), ('No benefit was\nseen', True), ('.', False)]
    """
    spans = sorted(span for quote in quotes(explanation) for span in quote_spans(quote, document))
    pieces, end = [], 0
    for start, stop in spans:
        if start < end:
            continue
        pieces += [Piece(document[end:start], False), Piece(document[start:stop], True)]
        end = stop
    pieces.append(Piece(document[end:], False))
    return [piece for piece in pieces if piece.text]
