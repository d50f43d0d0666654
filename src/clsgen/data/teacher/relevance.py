"""Which sentences of a document speak to a question: those that repeat its words, and those that state a result."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[a-z0-9][a-z0-9-]+")
_STEM_CHARACTERS = 6
_RESULT = re.compile(
    r"\bp\s*[<>=≤≥]|significan|\bci\b|confidence interval|\bthan\b|\bversus\b|\bvs\b|compared (?:with|to)|differ"
    r"|similar|superior|inferior",
    re.IGNORECASE,
)
_RESULT_OVERLAP = 0.5
_TEMPERATURE = 0.5


@dataclass(frozen=True, slots=True)
class Relevance:
    """Weights of the sentences of a document, given a question.

    Attributes:
        num_rows: Rows it was fitted on.
        frequencies: Stem -> number of rows whose document, or whose question (the larger of the two), holds it. The
            words that every question shares ("compared with", "superior") so weigh as little as "the".
    """

    num_rows: int
    frequencies: Mapping[str, int]

    @classmethod
    def fit(cls, documents: Sequence[str], questions: Sequence[str]) -> Relevance:
        """Counts stems; a stem is the first 6 characters of a word in lower case."""
        in_documents = Counter(stem for document in documents for stem in _stems(document))
        in_questions = Counter(stem for question in questions for stem in _stems(question))
        return cls(num_rows=len(documents), frequencies=in_documents | in_questions)

    def overlap(self, question: str, sentence: str) -> float:
        """Share of the question's stems that the sentence holds, weighted by log((1 + rows) / (1 + frequency)); 0 to 1.

        0 where the question is empty or holds nothing but words that every row holds.

        >>> relevance = Relevance(num_rows=3, frequencies={"pain": 1, "the": 3, "scores": 1})
        >>> relevance.overlap("the pain scores", "The pain was mild.")
        0.5
        """
        asked = _stems(question)
        total = sum(self._weight(stem) for stem in asked)
        if total <= 0:
            return 0.0
        # Sorted, so that the sum does not depend on the order of a set of strings.
        return float(sum(self._weight(stem) for stem in sorted(asked & _stems(sentence))) / total)

    def weights(self, question: str, sentences: Sequence[str]) -> NDArray[np.float64]:
        """Weights (sentences,) that sum to 1: softmax(overlap / 0.5); equal without a question.

        A sentence that states a result (a p-value, an interval, a comparison) counts as repeating half the question
        more: titles and aims repeat a question best and answer it least.
        """
        if not question:
            return np.full(len(sentences), 1 / len(sentences))
        overlaps = np.array(
            [self.overlap(question, text) + _RESULT_OVERLAP * bool(_RESULT.search(text)) for text in sentences]
        )
        exponentials = np.exp((overlaps - overlaps.max()) / _TEMPERATURE)
        return np.asarray(exponentials / exponentials.sum())

    def _weight(self, stem: str) -> float:
        return float(np.log((1 + self.num_rows) / (1 + self.frequencies.get(stem, 0))))


def _stems(text: str) -> set[str]:
    return {word[:_STEM_CHARACTERS] for word in _WORD.findall(text.lower())}
