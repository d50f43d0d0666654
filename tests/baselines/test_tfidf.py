"""The bag-of-words baseline: learns a word, tunes on validation rows alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from clsgen.baselines.tfidf import INVERSE_PENALTIES, fit_tfidf
from clsgen.errors import DataError
from clsgen.types import Example, TaskSpec

BINARY = TaskSpec("toy", ("no", "yes"), "Decide.", positive="yes")
THREE = TaskSpec("toy", ("red", "green", "blue"), "Decide.")
FILLER = [f"word{index}" for index in range(40)]


def make_rows(
    num_rows: int, spec: TaskSpec, *, seed: int, noise: float = 0.1, in_question: bool = False
) -> list[Example]:
    """Rows of random words with one that names the label; a share of `noise` names a random one."""
    draw = random.Random(seed)
    rows = []
    for index in range(num_rows):
        label = draw.choice(spec.labels)
        planted = f"sign{draw.choice(spec.labels) if draw.random() < noise else label}"
        words = draw.choices(FILLER, k=draw.randint(5, 30))
        if not in_question:
            words.insert(draw.randrange(len(words)), planted)
        rows.append(Example(str(index), " ".join(words), planted if in_question else "", label))
    return rows


@pytest.mark.parametrize("in_question", [False, True])
def test_learns_a_planted_word(in_question: bool) -> None:
    train, validation, test = (make_rows(200, BINARY, seed=seed, in_question=in_question) for seed in range(3))
    probs_NC = fit_tfidf(train, validation, BINARY).probs(test)
    assert probs_NC.shape == (200, 2)
    np.testing.assert_allclose(probs_NC.sum(axis=1), 1, atol=1e-12)
    assert roc_auc_score([row.label == "yes" for row in test], probs_NC[:, 1]) > 0.9


def test_three_classes_keep_the_order_of_the_labels() -> None:
    train, validation, test = (make_rows(200, THREE, seed=seed, noise=0) for seed in range(3))
    decided = fit_tfidf(train, validation, THREE).probs(test).argmax(axis=1)
    assert np.mean([THREE.labels[index] == row.label for index, row in zip(decided, test, strict=True)]) > 0.95


def test_is_sklearns_pipeline_at_the_penalty_of_least_validation_loss() -> None:
    train, validation = make_rows(150, BINARY, seed=0, noise=0.4), make_rows(150, BINARY, seed=1, noise=0.4)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    train_features = vectorizer.fit_transform([row.document for row in train])
    validation_features = vectorizer.transform([row.document for row in validation])
    labels = [[row.label == "yes" for row in rows] for rows in (train, validation)]
    probs, losses = {}, {}
    for penalty in INVERSE_PENALTIES:
        model = LogisticRegression(C=penalty, max_iter=5000).fit(train_features, labels[0])
        probs[penalty] = model.predict_proba(validation_features)
        losses[penalty] = log_loss(labels[1], probs[penalty])
    baseline = fit_tfidf(train, validation, BINARY)
    assert baseline.inverse_penalty == min(losses, key=lambda penalty: losses[penalty])
    assert baseline.validation_log_loss == pytest.approx(min(losses.values()))
    np.testing.assert_allclose(baseline.probs(validation), probs[baseline.inverse_penalty], atol=1e-9)


def test_logits_are_finite_log_probabilities_and_rows_stand_alone() -> None:
    baseline = fit_tfidf(make_rows(100, THREE, seed=0), make_rows(50, THREE, seed=1), THREE)
    test = [*make_rows(20, THREE, seed=2), Example("empty", "", label=None)]
    logits_NC = baseline.logits(test)
    assert np.isfinite(logits_NC).all()
    np.testing.assert_allclose(logsumexp(logits_NC, axis=1), 0, atol=1e-12)
    for index, row in enumerate(test):
        np.testing.assert_allclose(baseline.logits([row])[0], logits_NC[index], atol=1e-12)
    assert baseline.logits([]).shape == (0, 3)


def test_fits_the_same_twice() -> None:
    train, validation = make_rows(80, BINARY, seed=0), make_rows(80, BINARY, seed=1)
    first, second = (fit_tfidf(train, validation, BINARY).logits(validation) for _ in range(2))
    assert (first == second).all()


def test_texts_without_a_shared_term_are_refused() -> None:
    train = [Example("a", "alpha beta", label="no"), Example("b", "gamma delta", label="yes")]
    with pytest.raises(DataError, match=r"train texts must share a term; got none that occurs in 2 of 2 rows"):
        fit_tfidf(train, train, BINARY)
