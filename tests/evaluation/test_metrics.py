from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from clsgen.errors import DataError
from clsgen.evaluation.metrics import auprc, auroc, brier, ece, ece_reference, ece_top_label, ece_width, log_loss

BINARY = {"auroc": auroc, "auprc": auprc, "brier": brier, "log_loss": log_loss, "ece": ece}
# Probabilities on a grid, so that ties are common.
rows = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=40)


def _split(drawn: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    grid, label, count = (np.array(column) for column in zip(*drawn, strict=True))
    return grid / 20, label, count


def _multiclass(seed: int = 0, num_rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    prob = rng.dirichlet([1.0, 2.0, 0.5], size=num_rows)
    label = np.array([rng.choice(3, p=row) for row in prob])
    return prob, label


@settings(max_examples=80, deadline=None)
@given(rows)
def test_binary_metrics_agree_with_scikit_learn_with_ties_and_weights(drawn):
    prob, label, count = _split(drawn)
    weighted = label[count > 0]
    if len(set(weighted)) < 2:
        return
    for ours, theirs in (
        (auroc, reference.roc_auc_score),
        (auprc, reference.average_precision_score),
        (brier, reference.brier_score_loss),
        (log_loss, reference.log_loss),
    ):
        assert float(ours(prob, label, weight=count)) == pytest.approx(
            theirs(label, prob, sample_weight=count), abs=1e-12
        )


def test_multiclass_metrics_agree_with_scikit_learn():
    prob, label = _multiclass()
    one_hot = np.eye(3)[label]
    assert float(auroc(prob, label)) == pytest.approx(reference.roc_auc_score(label, prob, multi_class="ovr"))
    assert float(auprc(prob, label)) == pytest.approx(reference.average_precision_score(one_hot, prob))
    assert float(log_loss(prob, label)) == pytest.approx(reference.log_loss(label, prob))
    each = [reference.brier_score_loss(one_hot[:, c], prob[:, c]) for c in range(3)]
    assert float(brier(prob, label)) == pytest.approx(sum(each))


def test_two_columns_give_twice_the_binary_brier_and_the_same_ece():
    prob, label = np.array([0.2, 0.7, 0.9]), np.array([0, 0, 1])
    both = np.stack([1 - prob, prob], axis=1)
    assert float(brier(both, label)) == pytest.approx(2 * float(brier(prob, label)))
    assert float(ece(both, label)) == pytest.approx(float(ece(prob, label)))


@settings(max_examples=60, deadline=None)
@given(rows)
def test_whole_number_weights_equal_repeated_rows(drawn):
    prob, label, count = _split(drawn)
    for metric in BINARY.values():
        repeated = float(metric(np.repeat(prob, count), np.repeat(label, count)))
        assert float(metric(prob, label, weight=count)) == pytest.approx(repeated, abs=1e-12, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_order_of_rows_is_nothing(drawn, random):
    shuffled = random.sample(drawn, len(drawn))
    for metric in BINARY.values():
        first, second = (metric(prob, label) for prob, label, _ in (_split(drawn), _split(shuffled)))
        assert float(first) == pytest.approx(float(second), abs=1e-12, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_a_strictly_monotone_transform_leaves_the_ranking_metrics(drawn):
    prob, label, _ = _split(drawn)
    for metric in (auroc, auprc):
        transformed = float(metric(1 / (1 + np.exp(-3 * prob)), label))
        assert transformed == pytest.approx(float(metric(prob, label)), abs=1e-12, nan_ok=True)


def test_many_weight_rows_give_one_value_each():
    prob, label = _multiclass(1)
    weight = np.random.default_rng(2).integers(0, 3, size=(7, len(label)))
    for metric in BINARY.values():
        for p, y in ((prob, label), (prob[:, 0], label == 0)):
            together = metric(p, y, weight=weight)
            assert together.shape == (7,)
            assert together == pytest.approx([float(metric(p, y, weight=row)) for row in weight])


def test_reversed_ranking_mirrors_auroc():
    prob, label = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
    assert float(auroc(1 - prob, label)) == pytest.approx(0.25)


def test_tied_probabilities_share_a_bin():
    # Two bins of three tied rows and one: all of the tied ones in the bin of their middle (3/8).
    prob, label = [0.2, 0.2, 0.2, 0.9], [0, 0, 1, 1]
    assert float(ece(prob, label, num_bins=2)) == pytest.approx((abs(0.6 - 1) + abs(0.9 - 1)) / 4)


def test_ece_of_distinct_rows_agrees_with_an_array_split():
    rng = np.random.default_rng(3)
    prob = rng.random(150)
    label = (rng.random(150) < prob**2).astype(int)
    order = np.argsort(prob)
    bins = np.array_split(order, 15)
    expected = sum(len(b) / 150 * abs(prob[b].mean() - label[b].mean()) for b in bins)
    assert float(ece(prob, label)) == pytest.approx(expected)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_ranking_undefined_and_the_others_defined(label):
    prob, labels = [0.2, 0.6], [label, label]
    assert math.isnan(auroc(prob, labels))
    assert math.isnan(auprc(prob, labels))
    assert all(math.isfinite(BINARY[name](prob, labels)) for name in ("brier", "log_loss", "ece"))


def test_an_absent_class_leaves_the_macro_ranking_undefined():
    prob = [[0.5, 0.3, 0.2], [0.2, 0.6, 0.2]]
    assert math.isnan(auroc(prob, [0, 1]))
    assert math.isnan(auprc(prob, [0, 1]))


@pytest.mark.parametrize("name", BINARY)
def test_empty_input_is_undefined(name):
    assert math.isnan(BINARY[name]([], []))
    assert math.isnan(BINARY[name](np.zeros((0, 3)), []))
    assert np.isnan(BINARY[name]([], [], weight=np.zeros((2, 0)))).all()


@pytest.mark.parametrize("name", BINARY)
def test_a_weight_of_zero_throughout_is_undefined(name):
    assert math.isnan(BINARY[name]([0.1, 0.9], [0, 1], weight=[0, 0]))


def test_log_loss_of_an_impossible_observation_is_finite():
    assert float(log_loss([0.0], [1])) == pytest.approx(-math.log(2.220446049250313e-16))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(
    ("prob", "label", "weight", "message"),
    [
        ([0.1, float("nan")], [0, 1], None, r"prob must be from 0 to 1; got nan at row 1"),
        ([0.1, 1.2], [0, 1], None, r"prob must be from 0 to 1; got 1.2 at row 1"),
        ([0.1, 0.2], [0, 2], None, r"label must be a class index from 0 to 1; got 2 at row 1"),
        ([[0.1, 0.9]], [-1], None, r"label must be a class index from 0 to 1; got -1 at row 0"),
        ([0.1, 0.2], ["no", "yes"], None, r"label must be a class index from 0 to 1; got 'no' at row 0"),
        ([0.1, 0.2], [[0, 1]], None, r"label must be of shape \(N,\); got \(1, 2\)"),
        ([0.1, 0.2], [0], None, r"label must be as long as prob \(2\); got 1"),
        (0.1, [0], None, r"prob must be of shape \(N,\) or \(N, C\); got \(\)"),
        ([0.1, 0.2], [0, 1], [1.0], r"weight must be of shape \(..., 2\); got \(1,\)"),
        ([0.1, 0.2], [0, 1], [1.0, -1.0], r"weight must be finite and at least 0; got -1.0"),
    ],
)
def test_bad_input_is_named(name, prob, label, weight, message):
    with pytest.raises(DataError, match=f"{name}: {message}"):
        BINARY[name](prob, label, weight=weight)


def test_bins_must_be_at_least_one():
    with pytest.raises(DataError, match="ece: num_bins must be at least 1; got 0"):
        ece([0.5], [1], num_bins=0)
    with pytest.raises(DataError, match="ece_reference: num_bins must be at least 1; got -1"):
        ece_reference([0.5], num_bins=-1)


def test_reference_is_exceeded_by_one_in_twenty_perfect_samples():
    rng = np.random.default_rng(4)
    prob = rng.beta(1, 3, size=200)
    limit = ece_reference(prob, num_draws=2000, seed=5)
    above = [float(ece(prob, rng.random(200) < prob)) > limit for _ in range(600)]
    # 0.05 give or take four standard errors of 600 draws.
    assert 0.015 < np.mean(above) < 0.086


def test_multiclass_reference_is_exceeded_by_one_in_twenty_perfect_samples():
    prob, _ = _multiclass(6, num_rows=150)
    limit = ece_reference(prob, num_draws=1000, seed=7)
    above = [float(ece(prob, _redrawn(prob, seed))) > limit for seed in range(300)]
    assert 0.0 <= np.mean(above) < 0.11


def _redrawn(prob: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(3, p=row) for row in prob])


def test_reference_depends_on_seed_but_not_on_order():
    prob, _ = _multiclass(8)
    shuffled = np.random.default_rng(9).permutation(prob)
    for given_prob, other in ((prob, shuffled), (prob[:, 0], shuffled[:, 0])):
        first = ece_reference(given_prob, num_draws=200, seed=1)
        assert first == ece_reference(other, num_draws=200, seed=1)
        assert first != ece_reference(given_prob, num_draws=200, seed=2)


def test_reference_of_no_rows_is_undefined():
    assert math.isnan(ece_reference([]))


# ---- the other calibration errors, by a loop over bins ----


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 6))
def test_ece_width_is_the_sum_over_bins(drawn, num_bins):
    prob, label, count = _split(drawn)
    total, edges = 0.0, np.arange(num_bins + 1) / num_bins
    for low, high in itertools.pairwise(edges):
        is_in = (prob >= low) & ((prob < high) | (high == 1))
        total += abs(np.sum(count * (prob - label) * is_in))
    found = float(ece_width(prob, label, num_bins=num_bins, weight=count))
    assert found == pytest.approx(total / count.sum() if count.sum() else np.nan, abs=1e-9, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_top_label_error_of_two_columns_is_that_of_one(drawn):
    prob, label, _ = _split(drawn)
    if (prob == 0.5).any():  # two columns take the first of equals, one column the positive label
        return
    both = np.stack([1 - prob, prob], axis=1)
    confidence, is_right = np.maximum(prob, 1 - prob), ((prob >= 0.5) == label).astype(int)
    expected = float(ece(confidence, is_right))
    assert float(ece_top_label(prob, label)) == pytest.approx(expected, abs=1e-12)
    assert float(ece_top_label(both, label)) == pytest.approx(expected, abs=1e-9)


def test_the_reference_of_many_rows_is_near_that_of_labels_redrawn(monkeypatch):
    from clsgen.evaluation import metrics

    prob = np.random.default_rng(0).beta(1, 3, 6000)
    redrawn = ece_reference(prob, num_draws=2000)
    monkeypatch.setattr(metrics, "_MAX_REDRAWN", 5000)
    assert ece_reference(prob, num_draws=2000) == pytest.approx(redrawn, rel=0.04)
