"""Bag-of-words baseline: TF-IDF 1-2-grams of document and question together, and logistic regression.

One bag for both, because it measured better: on CliniFact, TRUE against the rest, the mean validation log loss of
5 grouped deals carved from train is 0.4765, against 0.4849 for n-grams of document and question apart (4 of 5 deals).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from clsgen.baselines.rows import label_indices
from clsgen.errors import DataError
from clsgen.types import Example, TaskSpec

INVERSE_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Candidates of scikit-learn's C; the one with the least validation log loss is taken."""


@dataclass(frozen=True, slots=True)
class TfidfBaseline:
    """A fitted bag-of-words classifier.

    Attributes:
        vectorizer: Terms and their weights, from the train rows.
        classifier: Fitted on the train rows.
        inverse_penalty: scikit-learn's C, chosen on the validation rows.
        validation_log_loss: Mean log loss on the validation rows at that C, in nats a row.
    """

    vectorizer: Any
    classifier: Any
    inverse_penalty: float
    validation_log_loss: float

    def logits(self, examples: Sequence[Example]) -> NDArray[np.float64]:
        """Log-probabilities before calibration, (N, C) float64; N may be 0."""
        if not examples:
            return np.zeros((0, len(self.classifier.classes_)))
        return _logprobs(self.classifier, self.vectorizer.transform(_texts(examples)))

    def probs(self, examples: Sequence[Example]) -> NDArray[np.float64]:
        """Probabilities before calibration, (N, C) float64; rows sum to 1."""
        return np.exp(self.logits(examples))


def fit_tfidf(train: Sequence[Example], validation: Sequence[Example], spec: TaskSpec) -> TfidfBaseline:
    """Bag-of-words classifier of the train rows. The fit is convex: there is no seed.

    Args:
        train: Labelled rows, every class among them; terms and weights come from these alone.
        validation: Labelled rows that choose the penalty.
        spec: The task.

    Returns:
        The fitted baseline.

    Raises:
        DataError: Rows that `label_indices` refuses, or train texts that share no term at all.
    """
    train_N = label_indices(train, spec, role="train")
    validation_N = label_indices(validation, spec, role="validation")
    vectorizer = _fit_vectorizer(_texts(train))
    train_features = vectorizer.transform(_texts(train))
    validation_features = vectorizer.transform(_texts(validation))
    fitted = []
    for inverse_penalty in INVERSE_PENALTIES:
        classifier = LogisticRegression(C=inverse_penalty, max_iter=5000).fit(train_features, train_N)
        logprobs_NC = _logprobs(classifier, validation_features)
        log_loss = -float(logprobs_NC[np.arange(len(validation_N)), validation_N].mean())
        fitted.append((log_loss, inverse_penalty, classifier))
    log_loss, inverse_penalty, classifier = min(fitted, key=lambda candidate: candidate[:2])
    return TfidfBaseline(vectorizer, classifier, inverse_penalty, log_loss)


def _texts(examples: Sequence[Example]) -> list[str]:
    """Document and question of each row."""
    return [f"{example.document}\n{example.question}" for example in examples]


def _fit_vectorizer(texts: Sequence[str]) -> Any:
    """Vectorizer of the 1-2-grams that occur in 2 texts or more."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    analyze = vectorizer.build_analyzer()
    num_texts = Counter(term for text in texts for term in set(analyze(text)))
    if not any(count >= 2 for count in num_texts.values()):
        raise DataError(
            f"fit_tfidf: train texts must share a term; got none that occurs in 2 of {len(texts)} rows. "
            "Look at the text column."
        )
    return vectorizer.fit(texts)


def _logprobs(classifier: Any, features: Any) -> NDArray[np.float64]:
    """Log-probabilities (N, C) from the margins, so that none is -inf."""
    margins = np.asarray(classifier.decision_function(features), dtype=np.float64)
    if len(classifier.classes_) == 2:
        margins = np.stack([np.zeros_like(margins), margins], axis=1)
    logprobs_NC: NDArray[np.float64] = log_softmax(margins, axis=1)
    return logprobs_NC
