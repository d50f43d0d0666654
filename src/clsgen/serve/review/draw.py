"""Chooses the rows of a study and makes its items: every stratum as often, models hidden, a few checks."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

from clsgen.data.explanations import quote_spans, quotes
from clsgen.errors import DataError
from clsgen.serve.review.study import Item, Key, Kind, Shown
from clsgen.types import Example, Prediction

CHECK = (
    "This is no reason but a check that reasons are read. Please answer “no” to every question of this item, the one "
    "about the decision too."
)
"""A check is passed where every answer is "no": the wording and that rule go together."""
CONFIDENCES = ("low", "middle", "high")
"""Thirds of the rows by the probability of the decided label."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Items of a study, and what reviewers must not know of each."""

    items: tuple[Item, ...]
    keys: Mapping[str, Key]


def draw_items(
    models: Mapping[str, Sequence[Prediction]],
    examples: Sequence[Example],
    *,
    num_rows: int,
    num_checks: int,
    seed: int,
) -> Drawn:
    """Draw rows and make an item of each model's answer to each, a pair of every two models', and checks.

    Args:
        models: Model -> its predictions with reasons; strata are those of the first.
        examples: The rows that they are of.
        num_rows: Rows to draw, as evenly over the strata as these have rows.
        num_checks: Items that show whether reasons are read, at most a row each.
        seed: Of the draws.

    Raises:
        DataError: Fewer rows than asked for have a reason of every model, or more checks than rows are asked for.
    """
    documents = {example.id: example for example in examples}
    by_id = {name: {row.id: row for row in rows if row.explanation} for name, rows in models.items()}
    shared = sorted(set.intersection(set(documents), *(set(rows) for rows in by_id.values())))
    if len(shared) < num_rows:
        raise DataError(
            f"review: {num_rows} rows must have a reason of every model; {len(shared)} have one. Ask for fewer rows, "
            "or evaluate with predict.explain: all."
        )
    if num_checks > num_rows:
        raise DataError(f"review: checks must be at most as many as rows ({num_rows}); got {num_checks}.")
    first = next(iter(by_id.values()))
    rng = random.Random(seed)
    strata = strata_of([first[id_] for id_ in shared])
    chosen = _evenly(strata, num_rows, rng)
    drawn, there = _sizes(strata, chosen), _sizes(strata, shared)
    maker = _Maker(rng)
    for id_ in chosen:
        stratum = strata[id_]
        row = _Row(documents[id_], first[id_].group or id_, stratum, drawn[stratum] / there[stratum])
        answers = [(name, rows[id_]) for name, rows in by_id.items()]
        for answer in answers:
            maker.add("rating", row, [answer])
        for two in combinations(answers, 2):
            maker.add("pair", row, rng.sample(two, 2))
    for id_ in rng.sample(chosen, num_checks):
        asked = replace(first[id_], explanation=CHECK)
        maker.add("check", _Row(documents[id_], first[id_].group or id_, "check", 1.0), [("", asked)])
    return Drawn(tuple(maker.items), maker.keys)


class _Row(NamedTuple):
    """A drawn row: its text, its group, and the stratum that it stands for."""

    example: Example
    group: str
    stratum: str
    share: float


class _Maker:
    """Items with ids that say nothing."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.items: list[Item] = []
        self.keys: dict[str, Key] = {}

    def add(self, kind: Kind, row: _Row, answers: Sequence[tuple[str, Prediction]]) -> None:
        number = f"{self._rng.getrandbits(48):012x}"
        example = row.example
        shown = tuple(
            Shown(answer.decision, answer.explanation or "", spans_of(answer.explanation or "", example.document))
            for _, answer in answers
        )
        self.items.append(Item(number, kind, example.document, example.question, shown))
        models = tuple(name for name, _ in answers)
        self.keys[number] = Key(example.id, row.group, models, example.label, row.stratum, row.share)


def spans_of(reason: str, document: str) -> tuple[tuple[int, int], ...]:
    """Where the reason's quotes stand in the document, in order."""
    return tuple(sorted({span for quote in quotes(reason) for span in quote_spans(quote, document)}))


def strata_of(rows: Sequence[Prediction]) -> dict[str, str]:
    """Row id -> decision, whether it is right, and the third of confidence that it is in.

    >>> probs = (0.6, 0.7, 0.9)
    >>> rows = [Prediction(str(p), {"no": 1 - p, "yes": p}, (), "yes", label="yes") for p in probs]
    >>> list(strata_of(rows).values())
    ['yes, right, low', 'yes, right, middle', 'yes, right, high']
    """
    order = sorted(rows, key=lambda row: (row.probs[row.decision], row.id))
    third = {row.id: CONFIDENCES[3 * place // len(order)] for place, row in enumerate(order)}
    return {row.id: f"{row.decision}, {_correctness(row)}, {third[row.id]}" for row in rows}


def _correctness(row: Prediction) -> str:
    if row.label is None:
        return "unknown"
    return "right" if row.label == row.decision else "wrong"


def _evenly(strata: Mapping[str, str], num_rows: int, rng: random.Random) -> list[str]:
    """One row of each stratum in turn, until there are enough; in an order of chance."""
    waiting: defaultdict[str, list[str]] = defaultdict(list)
    for id_, stratum in strata.items():
        waiting[stratum].append(id_)
    for ids in waiting.values():
        rng.shuffle(ids)
    chosen: list[str] = []
    while len(chosen) < num_rows:
        turn = sorted(stratum for stratum, ids in waiting.items() if ids)
        rng.shuffle(turn)
        chosen += [waiting[stratum].pop() for stratum in turn[: num_rows - len(chosen)]]
    rng.shuffle(chosen)
    return chosen


def _sizes(strata: Mapping[str, str], ids: Sequence[str]) -> defaultdict[str, int]:
    sizes: defaultdict[str, int] = defaultdict(int)
    for id_ in ids:
        sizes[strata[id_]] += 1
    return sizes
