"""From the answers of one row to its explanation: which are fit, and which of these is best."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from clsgen.data.explanations import grounding, words
from clsgen.data.teacher.answers import read_answer
from clsgen.data.teacher.filters import Filters, Reason, normalised
from clsgen.data.teacher.store import Stored
from clsgen.types import Example


class Judged(NamedTuple):
    """An answer, its reason in words, and why it is dropped; None where it is fit."""

    stored: Stored
    reason: str
    dropped: Reason | None


def judge_answers(stored: Sequence[Stored], example: Example, labels: Sequence[str], filters: Filters) -> list[Judged]:
    """Every answer of a row with what is wrong with it, in their order.

    An answer to a prompt that told a label must state that label; one to a blind prompt the row's own.
    """
    return [_judge(each, example, labels, filters) for each in stored]


def _judge(stored: Stored, example: Example, labels: Sequence[str], filters: Filters) -> Judged:
    if stored.failure is not None:
        return Judged(stored, "", "failed")
    if stored.finish_reason == "length":
        return Judged(stored, "", "cut_off")
    answer = read_answer(stored.content, labels)
    wanted = str(example.label if stored.label is None else stored.label)
    return Judged(stored, answer.reason, filters.check_answer(answer, wanted=wanted, document=example.document))


def without_duplicates(judged: Sequence[Judged], seen: Collection[str]) -> list[Judged]:
    """The answers, with those marked that say word for word what another row's explanation says."""
    return [
        each._replace(dropped="duplicate") if each.dropped is None and normalised(each.reason) in seen else each
        for each in judged
    ]


def choose(judged: Sequence[Judged], document: str, order: Sequence[str]) -> Judged | None:
    """The best of the fit answers; None where none is fit. Ties go to the earlier sample.

    Args:
        judged: The answers of one row to one kind of prompt.
        document: What they are about.
        order: grounding, agreement, length: what decides first, second, third.
    """
    fit = [each for each in judged if each.dropped is None]
    if not fit:
        return None
    bags = [frozenset(words(each.reason)) for each in fit]

    def rank(index: int) -> tuple[float, ...]:
        figures = {
            "grounding": _support(fit[index].reason, document),
            "agreement": _mean_overlap(index, bags),
            "length": -float(len(words(fit[index].reason))),
        }
        return tuple(figures[name] for name in order)

    return fit[max(range(len(fit)), key=lambda index: (rank(index), -index))]


def choose_side(judged: Sequence[Judged], example: Example, order: Sequence[str]) -> list[Judged]:
    """Both sides were argued: the row's own side stands only if no other is better supported.

    Support is the share of a side's best argument that is quoted from the document. The answers of the other labels
    are left out; where one of them has more support, the row's own are marked `other_side`.
    """
    own = [each for each in judged if each.stored.label == example.label]
    best = choose(own, example.document, order)
    if best is None:
        return own
    rivals = [each for each in judged if each.stored.label != example.label and each.dropped is None]
    most = max((quoted_share(each.reason, example.document) for each in rivals), default=0.0)
    if most <= quoted_share(best.reason, example.document):
        return own
    return [each._replace(dropped="other_side") if each.dropped is None else each for each in own]


def quoted_share(reason: str, document: str) -> float:
    """Share of an explanation's words that stand in it in runs of four or more as in the document; 0 without words.

    >>> quoted_share("It fell: no benefit was seen", "In all, no benefit was seen.")
    0.6666666666666666
    """
    text, source = words(reason), words(document)
    runs = {tuple(source[start : start + 4]) for start in range(len(source) - 3)}
    is_shared = [False] * len(text)
    for start in range(len(text) - 3):
        if tuple(text[start : start + 4]) in runs:
            is_shared[start : start + 4] = [True] * 4
    return sum(is_shared) / len(text) if text else 0.0


def _support(reason: str, document: str) -> float:
    """1 where it quotes (fit answers quote truly), else the share of its words that the document has in runs."""
    return 1.0 if grounding(reason, document).num_quotes else quoted_share(reason, document)


def _mean_overlap(index: int, bags: Sequence[frozenset[str]]) -> float:
    """Mean Jaccard likeness of one bag of words to the others; 0 where there is no other."""
    others = [bag for number, bag in enumerate(bags) if number != index]
    if not others:
        return 0.0
    return sum(len(bags[index] & bag) / max(1, len(bags[index] | bag)) for bag in others) / len(others)
