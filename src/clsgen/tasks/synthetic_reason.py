"""The reasons that come with generated notes: the causes that weigh most, in the note's own words."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from clsgen.tasks.synthetic_findings import FINDINGS
from clsgen.tasks.synthetic_risk import Admission
from clsgen.tasks.synthetic_text import Note

MAX_CAUSES = 4
MIN_QUOTE_WORDS = 4
LIMITS_WORDS = (15, 40)
"""Fewest and most words of a reason."""


class Cause(NamedTuple):
    """A finding that moves the risk of one note.

    Attributes:
        finding: Its name.
        level: The state that is stated.
        contribution: What it adds to the logit; above 0 raises the risk.
        fact: The note's own words for it.
    """

    finding: str
    level: str
    contribution: float
    fact: str


_VERDICTS: Final[dict[bool, tuple[str, ...]]] = {
    True: (
        "pointed to death within 30 days",
        "made death within 30 days likely",
        "spoke for death within a month",
        "gave a poor 30-day outlook",
    ),
    False: (
        "pointed to survival past 30 days",
        "made survival past 30 days likely",
        "spoke for survival beyond a month",
        "gave a good 30-day outlook",
    ),
}
_OUTCOMES: Final[dict[bool, str]] = {True: "Death within 30 days", False: "Survival past 30 days"}

_BOTH_SIDES: Final[tuple[str, ...]] = (
    "{for_} {verdict}, despite {against}.",
    "despite {against}, {for_} {verdict}.",
    "the note describes {for_}, which {verdict} and outweighed {against}.",
    "{outcome} fits {for_} in this note, even with {against}.",
)
_ONE_SIDE: Final[tuple[str, ...]] = (
    "{for_} {verdict}, and no finding of like weight spoke against it.",
    "the note describes {for_}, which {verdict}, with little on the other side.",
    "{outcome} fits {for_}, the findings that weigh most in this note.",
    "the strongest findings in this note were {for_}, which {verdict}.",
)
_OTHER_SIDE: Final[tuple[str, ...]] = (
    "{outcome} came despite {against}, the findings that weigh most in this note.",
    "{outcome} came although the note describes {against}.",
)


def causes_of(admission: Admission, note: Note) -> list[Cause]:
    """The findings with the largest absolute contributions, largest first; ties keep the order of FINDINGS.

    Args:
        admission: The hidden state, which the label is no part of.
        note: The note that states it.

    Returns:
        At most MAX_CAUSES causes, none with a contribution of 0.
    """
    order = sorted(range(len(FINDINGS)), key=lambda index: -abs(admission.contributions[index]))
    return [
        Cause(
            FINDINGS[index].name,
            FINDINGS[index].levels[admission.levels[index]].name,
            admission.contributions[index],
            note.quotes[FINDINGS[index].name].fact,
        )
        for index in order[:MAX_CAUSES]
        if admission.contributions[index] != 0
    ]


def write_reason(causes: list[Cause], note: Note, *, rng: np.random.Generator, is_death: bool) -> str:
    """A sentence or two that say why the label holds, and what spoke against it.

    Args:
        causes: From causes_of; at least one.
        note: The note; half of the reasons quote a sentence of it.
        rng: Source of randomness.
        is_death: The label.

    Returns:
        Text of LIMITS_WORDS words that names every cause and nothing else.
    """
    for_ = [cause for cause in causes if (cause.contribution > 0) == is_death]
    against = [cause for cause in causes if (cause.contribution > 0) != is_death]
    frames = _OTHER_SIDE if not for_ else _BOTH_SIDES if against else _ONE_SIDE
    reason = frames[int(rng.integers(len(frames)))].format(
        for_=_listed(for_),
        against=_listed(against),
        verdict=_VERDICTS[is_death][int(rng.integers(len(_VERDICTS[is_death])))],
        outcome=_OUTCOMES[is_death],
    )
    reason = reason[0].upper() + reason[1:]
    return reason + _quotation(reason, for_ if for_ else against, note=note, is_wanted=rng.random() < 0.5)


def _quotation(reason: str, causes: list[Cause], *, note: Note, is_wanted: bool) -> str:
    """The sentence of the first cause, in quotation marks, where it is wanted or the reason would be too short."""
    sentence = note.quotes[causes[0].finding].sentence
    num_words, num_quoted = len(reason.split()), len(sentence.split())
    is_short = num_words < LIMITS_WORDS[0]
    fits = num_quoted >= MIN_QUOTE_WORDS and num_words + num_quoted + 3 <= LIMITS_WORDS[1]
    return f' The note states: "{sentence}."' if is_short or (is_wanted and fits) else ""


def _listed(causes: list[Cause]) -> str:
    """Facts as an English list."""
    facts = [_uncapitalised(cause.fact) for cause in causes]
    return facts[0] if len(facts) == 1 else ", ".join(facts[:-1]) + " and " + facts[-1] if facts else ""


def _uncapitalised(fact: str) -> str:
    """The fact for the middle of a sentence; abbreviations keep their capitals."""
    return fact if fact[:2].isupper() or fact[0].isdigit() else fact[0].lower() + fact[1:]
