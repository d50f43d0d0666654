"""Explanations for rows that have none: the sentence of the document that carries the label, quoted.

A linear classifier over words and word pairs is fitted on each train document's mean sentence, in which sentences that
speak to the question weigh more. A linear model of a mean splits exactly into one term a sentence: the sentence that
carries the label is the one with the largest term of that label.

Measured on evidence_inference, where doctors marked the sentences (889 train rows, on which the constants were chosen,
and 113 published validation rows, looked at along the way): the quote is one of theirs in 69% and 67%; by overlap with
the question alone in 25% and 22%; a random sentence in 11% and 12%. Cross-fitted (a row explained by a model that saw
none of its group) it is 64% in train, so one model is enough.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from clsgen.data.sentences import clip_span, sentence_spans
from clsgen.data.teacher.relevance import Relevance
from clsgen.errors import DataError
from clsgen.types import Example, TaskSpec

MAX_QUOTE_WORDS = 45
MIN_QUOTE_WORDS = 5
"""With "The text states:" a quote of this length makes 8 words, the least that counts as readable."""

_INVERSE_PENALTY = 30.0
_HEADING = re.compile(r"[A-Z][A-Z ,/&()-]+:\s+")
_P_VALUE = re.compile(r"\bp(?:[ -]?values?)?\s*(?:of\s*)?([<>=≤≥]+)\s*(\d*[.·]?\d+)")
_NUMBER = re.compile(r"(\d[\d,]*)(?:[.·]\d+)*")


class _Quotable(NamedTuple):
    """Sentences (or clauses of long ones) of a document: what may be quoted, and what is read to choose."""

    quotes: list[str]
    sentences: list[str]


@dataclass(frozen=True, slots=True)
class ExtractiveTeacher:
    """Quotes the sentence that carries a row's label. Make one with `fit`.

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
            preprocessor=replace_numbers,
            token_pattern=r"[^\W\d][\w-]+",
            ngram_range=(1, 2),
            min_df=_min_df(len(rows)),
            sublinear_tf=True,
        )
        vectorizer.fit([sentence for document in sentences for sentence in document])
        documents_NV = vstack(
            [
                csr_array(relevance.weights(row.question, document)[None]) @ vectorizer.transform(document)
                for row, document in zip(rows, sentences, strict=True)
            ],
            format="csr",
        )
        coefficients_CV = _coefficients(documents_NV, [str(row.label) for row in rows], spec.labels)
        return cls(spec.labels, vectorizer, relevance, coefficients_CV)

    def choose(self, example: Example) -> str | None:
        """The quote, verbatim in the document, of at most 45 words; None where no sentence speaks for the label.

        Raises:
            DataError: The label is not one of the task's.
        """
        if example.label is None:
            return None
        if example.label not in self.labels:
            raise DataError(_unknown_label(example, self.labels))
        quotes, sentences = quotable(example.document)
        if not quotes:
            return None
        own_V = self._coefficients_CV[self.labels.index(example.label)]
        evidence = self._relevance.weights(example.question, sentences) * (
            self._vectorizer.transform(sentences) @ own_V
        )
        best = int(np.argmax(evidence))
        return quotes[best] if evidence[best] > 0 else None

    def explain(self, example: Example) -> str | None:
        """`The text states: "<quote>".`, which says itself that it is extractive; None as `choose` says."""
        quote = self.choose(example)
        return None if quote is None else f'The text states: "{quote}".'

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


def replace_numbers(text: str) -> str:
    """The text in lower case, a p-value as its side of 0.05, any other number as its first digit and its length.

    >>> replace_numbers("Fell by 3.4 mg in 120 of 1,200 men (P = .03; NS: p > 0.05)")
    'fell by num3_1 mg in num1_3 of num1_4 men (p_small; ns: p_large)'
    """
    return _NUMBER.sub(_number_word, _P_VALUE.sub(_p_value_word, text.lower()))


def _p_value_word(match: re.Match[str]) -> str:
    is_above = ">" in match[1] or "≥" in match[1]
    return "p_small" if not is_above and float(match[2].replace("·", ".")) <= 0.05 else "p_large"


def _number_word(match: re.Match[str]) -> str:
    digits = match[1].replace(",", "").lstrip("0")
    return f"num{digits[0]}_{len(digits)}" if digits else "num0"


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
