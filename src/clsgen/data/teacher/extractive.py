"""Explanations for rows that have none: the sentences of the document that carry the label, quoted.

A linear classifier over words, word pairs, numbers and negations (reading.py) is fitted on each train document's mean
sentence, in which sentences that speak to the question weigh more. A linear model of a mean splits exactly into one
term a sentence: the sentence that carries the label is the one with the largest term of that label.

Measured on train rows by scripts/measure_extractive.py: rows with a quote that doctors marked (evidence_inference) 74%,
rows with a quote that states a true cause (generated notes, prevalence 0.3 and 0.1) 63% and 49%. By one sentence, and
without numbers by what they measure and negations: 67%, 38% and 29%. Fitted on the rows that it explains: cross-fitting
(a row explained by a model that saw none of its group) cost 5 points on evidence_inference.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import block_diag
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from clsgen.data.sentences import clip_span, sentence_spans
from clsgen.data.teacher.reading import features
from clsgen.data.teacher.relevance import Relevance
from clsgen.errors import DataError
from clsgen.types import Example, TaskSpec

MAX_QUOTE_WORDS = 45
MAX_QUOTES = 3
MAX_QUOTED_WORDS = 60
NEAR_SHARE = 0.7
"""A second sentence is quoted where it carries this share of what the first does."""
MIN_QUOTE_WORDS = 5
"""With "The text states:" a quote of this length makes 8 words, the least that counts as readable."""

_INVERSE_PENALTY = 300.0
_HEADING = re.compile(r"[A-Z][A-Z ,/&()-]+:\s+")


class _Quotable(NamedTuple):
    """Sentences (or clauses of long ones) of a document: what may be quoted, and what is read to choose."""

    quotes: list[str]
    sentences: list[str]


@dataclass(frozen=True, slots=True)
class ExtractiveTeacher:
    """Quotes the sentences that carry a row's label. Make one with `fit`.

    It reads document, question and label, never the metadata. It is for train and validation rows: a test row's label
    is what a model is judged against, so a test row gets no explanation from it.
    """

    labels: tuple[str, ...]
    _vectorizer: Any
    _relevance: Relevance
    _coefficients_CV: NDArray[np.float64]

    @classmethod
    def fit(cls, examples: Sequence[Example], spec: TaskSpec) -> ExtractiveTeacher:
        """A teacher fitted on train rows.

        Args:
            examples: Train rows; those without a label are passed over.
            spec: The task, for its labels.

        Raises:
            DataError: A label outside the task's, or a label that no row with a quotable sentence has.
        """
        rows = [example for example in examples if example.label is not None and quotable(example.document).quotes]
        _check_labels(rows, spec.labels)
        sentences = [quotable(row.document).sentences for row in rows]
        relevance = Relevance.fit([row.document for row in rows], [row.question for row in rows if row.question])
        vectorizer = TfidfVectorizer(
            preprocessor=features,
            token_pattern=r"[^\W\d][\w-]+",
            ngram_range=(1, 2),
            min_df=_min_df(len(rows)),
            sublinear_tf=True,
        )
        sentences_SV = vectorizer.fit_transform([sentence for document in sentences for sentence in document])
        weights_NS: Any = block_diag(
            [relevance.weights(row.question, document)[None] for row, document in zip(rows, sentences, strict=True)],
            format="csr",
        )
        coefficients_CV = _coefficients(weights_NS @ sentences_SV, [str(row.label) for row in rows], spec.labels)
        return cls(spec.labels, vectorizer, relevance, coefficients_CV)

    def choose(self, example: Example) -> list[str]:
        """The quotes, verbatim in the document and in its order: at most 3, of at most 60 words; [] where none speaks.

        The sentence that carries the label most, and others that carry nearly as much.

        Raises:
            DataError: The label is not one of the task's.
        """
        if example.label is None:
            return []
        if example.label not in self.labels:
            raise DataError(_unknown_label(example, self.labels))
        quotes, sentences = quotable(example.document)
        if not quotes:
            return []
        own_V = self._coefficients_CV[self.labels.index(example.label)]
        evidence = self._relevance.weights(example.question, sentences) * (
            self._vectorizer.transform(sentences) @ own_V
        )
        return [quotes[index] for index in _strongest(evidence, [len(quote.split()) for quote in quotes])]

    def explain(self, example: Example) -> str | None:
        """`The text states: "<quote>".`, which says itself that it is extractive; None where nothing can be quoted."""
        quotes = [f'"{quote}"' for quote in self.choose(example)]
        if not quotes:
            return None
        listed = quotes[0] if len(quotes) == 1 else f"{', '.join(quotes[:-1])} and {quotes[-1]}"
        return f"The text states: {listed}."

    def apply(self, examples: Sequence[Example]) -> tuple[list[Example], Mapping[str, int]]:
        """The rows with an explanation wherever one was to be had, and the number of rows by where it came from.

        Args:
            examples: Train or validation rows, never test rows.

        Returns:
            The rows in order; metadata["explanation_source"] is "column" (had one) or "extractive". The counts add up
            to the rows: column, extractive, unlabelled and no_sentence (the last two left without one).
        """
        counts = Counter({"column": 0, "extractive": 0, "unlabelled": 0, "no_sentence": 0})
        explained = []
        for example in examples:
            reason = self.explain(example) if example.explanation is None else example.explanation
            if example.explanation is not None:
                source = "column"
            elif reason is not None:
                source = "extractive"
            else:
                source = "unlabelled" if example.label is None else "no_sentence"
            counts[source] += 1
            if reason is not None:
                metadata = {**example.metadata, "explanation_source": source}
                explained.append(replace(example, explanation=reason, metadata=metadata))
            else:
                explained.append(example)
        return explained, dict(counts)


def _strongest(evidence: NDArray[np.float64], num_words: Sequence[int]) -> list[int]:
    """Indices of the sentences to quote, in order: the best, and those near it as long as there is room."""
    order = np.argsort(-evidence, kind="stable")
    if evidence[order[0]] <= 0:
        return []
    chosen: list[int] = [int(order[0])]
    for index in order[1:MAX_QUOTES]:
        total = sum(num_words[each] for each in chosen) + num_words[index]
        if evidence[index] >= NEAR_SHARE * evidence[order[0]] and total <= MAX_QUOTED_WORDS:
            chosen.append(int(index))
    return sorted(chosen)


def quotable(document: str) -> _Quotable:
    """The sentences of a document that may be quoted: 5 to 45 words, no quotation mark inside, heading left out.

    A longer sentence is cut at clause ends. The final period is left to the sentence around the quote.
    """
    quotes, sentences = [], []
    for sentence in sentence_spans(document):
        for start, end in clip_span(document, sentence, MAX_QUOTE_WORDS):
            heading = _HEADING.match(document, start, end)
            quote = document[heading.end() if heading else start : end].rstrip(".,;: ")
            if len(quote.split()) >= MIN_QUOTE_WORDS and '"' not in quote:
                quotes.append(quote)
                sentences.append(document[start:end])
    return _Quotable(quotes, sentences)


def _min_df(num_rows: int) -> int:
    # A pair seen in fewer than 3 sentences is a memory of one row; a handful of rows has nothing else.
    return 3 if num_rows >= 100 else 1


def _check_labels(rows: Sequence[Example], labels: Sequence[str]) -> None:
    for row in rows:
        if row.label not in labels:
            raise DataError(_unknown_label(row, labels))
    absent = sorted(set(labels) - {row.label for row in rows if row.label is not None})
    if absent:
        raise DataError(
            f"extractive teacher: train rows must hold every label; got none of {absent!r}. "
            "Add rows, or set data.explanations to column."
        )


def _coefficients(documents_NV: Any, labels: Sequence[str], order: Sequence[str]) -> NDArray[np.float64]:
    """Coefficients (classes, vocabulary) in the order of the labels; over the classes they add up to 0."""
    model = LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000).fit(documents_NV, labels)
    coefficients = np.vstack([-model.coef_[0], model.coef_[0]]) if len(model.classes_) == 2 else model.coef_
    position = {str(label): index for index, label in enumerate(model.classes_)}
    return np.asarray(coefficients[[position[label] for label in order]], dtype=np.float64)


def _unknown_label(example: Example, labels: Sequence[str]) -> str:
    return (
        f"extractive teacher: label of row {example.id!r} must be one of {list(labels)!r}; got {example.label!r}. "
        "Correct the row."
    )
