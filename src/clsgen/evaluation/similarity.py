"""Likeness of a written reason to a reference one: word overlap in order, and character n-grams.

Likeness is no truth: two good reasons may share no word.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from clsgen.data.explanations import words
from clsgen.errors import ConfigError


def rouge_l(text: str, reference: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004, ROUGE-L; beta = 1, no stemming). Higher is better.

    0 where either has no word.

    The longest common subsequence of these is "the cat on": 3 of 4 words of the text, 3 of 5 of the reference.

    >>> round(rouge_l("the cat on mats", "the cat sat on it"), 4)
    0.6667
    """
    found, wanted = words(text), words(reference)
    if not found or not wanted:
        return 0.0
    return 2 * _common(found, wanted) / (len(found) + len(wanted))


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    above = [0] * (len(second) + 1)
    for word in first:
        row = [0]
        for index, other in enumerate(second):
            row.append(above[index] + 1 if word == other else max(row[-1], above[index + 1]))
        above = row
    return above[-1]


def chrf(texts: Sequence[str], references: Sequence[str]) -> list[float]:
    """ChrF of each text against its reference (Popovic 2015; sacrebleu's defaults), 0 to 100. Higher is better.

    Raises:
        ConfigError: sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics.chrf import CHRF  # noqa: PLC0415  (the extra `text`)
    except ImportError as error:
        raise ConfigError("chrf: sacrebleu must be installed. Run: pip install 'clsgen[text]'") from error
    scorer: Any = CHRF()
    return [
        float(scorer.sentence_score(text, [reference]).score) for text, reference in zip(texts, references, strict=True)
    ]


def has_sacrebleu() -> bool:
    """Whether `chrf` can be computed here."""
    return find_spec("sacrebleu") is not None
