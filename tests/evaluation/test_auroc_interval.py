"""AUROC intervals and tests against tables of pairs, a jackknife over groups, and the cluster bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from clsgen.errors import DataError
from clsgen.evaluation.auroc_interval import auroc_difference, auroc_interval
from clsgen.evaluation.intervals import Statistic, cluster_bootstrap, draw_groups, paired_difference
from clsgen.evaluation.metrics import auroc


def rows(seed: int, num_groups: int, *, size: int = 1, share: float = 0.4):
    """Grouped rows whose probabilities and labels share an effect of their group; ties among the probabilities."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 2 * size, num_groups) if size > 1 else np.ones(num_groups, dtype=int)
    group = np.repeat(np.arange(num_groups), sizes)
    effect = rng.normal(size=num_groups)[group]
    label = (rng.normal(size=len(group)) + effect > np.quantile(effect, 1 - share)).astype(int)
    first, second = (np.round(1 / (1 + np.exp(-(label + effect + rng.normal(size=len(group))))), 2) for _ in range(2))
    return first, second, label, [f"g{number}" for number in group]


def test_areas_that_differ_without_any_variance_have_no_p_value():
    found = auroc_difference([0.1, 0.2, 0.8, 0.9], [0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], list("abcd"))
    assert found.difference == 1
    assert all(math.isnan(number) for number in (found.standard_error, found.low, found.high, found.p_value))
    perfect = auroc_interval([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], list("abcd"))
    assert perfect.estimate == 1
    assert all(math.isnan(number) for number in (perfect.standard_error, perfect.low, perfect.high))


def delong_by_pairs(first, second, label):
    """The covariance as the paper writes it: every pair of a positive and a negative."""
    areas, v10, v01 = [], [], []
    for prob in (first, second):
        x, y = prob[label == 1], prob[label == 0]
        psi = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
        areas.append(psi.mean())
        v10.append(psi.mean(1))
        v01.append(psi.mean(0))
    return areas, np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])


@pytest.mark.parametrize("seed", range(3))
def test_a_row_a_group_is_delong(seed):
    first, second, label, group = rows(seed, 80)
    areas, covariance = delong_by_pairs(first, second, label)
    found = auroc_interval(first, label, group)
    assert found.method == "DeLong"
    assert found.estimate == pytest.approx(roc_auc_score(label, first), abs=1e-12)
    assert found.standard_error == pytest.approx(math.sqrt(covariance[0, 0]), rel=1e-10)
    assert found.high == pytest.approx(min(1, found.estimate + 1.959964 * found.standard_error), abs=1e-6)
    pair = auroc_difference(first, second, label, group)
    assert pair.difference == pytest.approx(areas[0] - areas[1], abs=1e-12)
    expected = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert pair.standard_error == pytest.approx(expected, rel=1e-10)
    assert pair.p_value == pytest.approx(math.erfc(abs(pair.difference) / expected / math.sqrt(2)), rel=1e-9)


def obuchowski_by_loops(prob, label, group):
    """The variance as the paper writes it: S10, S01 and S11, group by group."""
    psi = np.array([[float(x > y) + 0.5 * float(x == y) for y in prob[label == 0]] for x in prob[label == 1]])
    theta = psi.mean()
    groups = np.asarray(group)
    positives, negatives = groups[label == 1], groups[label == 0]
    s10 = s01 = s11 = 0.0
    for name in sorted(set(group)):
        is_x, is_y = positives == name, negatives == name
        x = psi[is_x].mean(1).sum() - is_x.sum() * theta if is_x.any() else 0.0
        y = psi[:, is_y].mean(0).sum() - is_y.sum() * theta if is_y.any() else 0.0
        s10, s01, s11 = s10 + x * x, s01 + y * y, s11 + x * y
    m, n, i10, i01, i = len(positives), len(negatives), len(set(positives)), len(set(negatives)), len(set(group))
    s10, s01, s11 = s10 * i10 / ((i10 - 1) * m), s01 * i01 / ((i01 - 1) * n), s11 * i / (i - 1)
    return s10 / m + s01 / n + 2 * s11 / (m * n)


@pytest.mark.parametrize("seed", range(3))
def test_groups_of_several_rows_are_obuchowski(seed):
    first, _, label, group = rows(seed, 60, size=4)
    found = auroc_interval(first, label, group)
    assert found.method == "Obuchowski"
    assert found.standard_error == pytest.approx(math.sqrt(obuchowski_by_loops(first, label, group)), rel=1e-10)


def test_rows_that_stand_five_times_say_nothing_more():
    first, second, label, group = rows(3, 50)
    once, five = auroc_interval(first, label, group), [np.repeat(each, 5) for each in (first, second, label, group)]
    found = auroc_interval(five[0], five[2], list(five[3]))
    assert found[:4] == pytest.approx(once[:4], rel=1e-9)
    pair = auroc_difference(five[0], five[1], five[2], list(five[3]))
    assert pair[:5] == pytest.approx(auroc_difference(first, second, label, group)[:5], rel=1e-9)


def test_both_agree_with_the_cluster_bootstrap():
    first, second, label, group = rows(7, 300, size=3)
    draws = draw_groups(group, label, num_draws=2000, seed=0)
    every = np.arange(len(label))
    statistics = [Statistic(lambda w, p=prob: auroc(p, label, weight=w), every) for prob in (first, second)]
    boot = cluster_bootstrap({"first": statistics[0]}, draws)["first"]
    found = auroc_interval(first, label, group)
    assert (found.low, found.high) == pytest.approx((boot.low, boot.high), abs=0.006)
    pair, drawn = auroc_difference(first, second, label, group), paired_difference(*statistics, draws)
    assert (pair.low, pair.high) == pytest.approx((drawn.low, drawn.high), abs=0.006)


def test_the_test_rejects_as_often_as_it_says():
    """Two systems of equal worth: 5% of the p-values lie below 0.05."""
    values = [auroc_difference(*rows(seed, 120, size=2)).p_value for seed in range(400)]
    assert 0.02 < np.mean(np.array(values) < 0.05) < 0.09
    assert np.mean(values) == pytest.approx(0.5, abs=0.06)


def test_what_is_undefined_is_nan_and_never_zero():
    assert math.isnan(auroc_interval([0.2, 0.3], [1, 1], ["a", "b"]).estimate)
    one_group = auroc_interval([0.2, 0.3, 0.4], [1, 1, 0], ["a", "a", "b"])
    assert one_group.estimate == 0.0
    assert math.isnan(one_group.standard_error)
    assert math.isnan(one_group.low)
    pair = auroc_difference([0.2, 0.3, 0.9], [0.9, 0.1, 0.2], [1, 1, 0], ["a", "a", "b"])
    assert math.isnan(pair.p_value)


def test_the_order_of_rows_is_nothing():
    first, second, label, group = rows(2, 40, size=3)
    order = np.random.default_rng(0).permutation(len(label))
    shuffled = auroc_difference(first[order], second[order], label[order], [group[i] for i in order])
    assert shuffled[:5] == pytest.approx(auroc_difference(first, second, label, group)[:5], abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.2, float("nan")], [0, 1], ["a", "b"]), "prob must be from 0 to 1; got nan at row 1"),
        (([0.2, 0.3], [0, 2], ["a", "b"]), "label must be a class index"),
        (([0.2, 0.3], [0, 1], ["a"]), "group must be as long as label"),
        (([[0.2, 0.8], [0.3, 0.7]], [0, 1], ["a", "b"]), "two classes; got one column a class"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(DataError, match=message):
        auroc_interval(*arguments)


def test_a_confidence_that_is_none():
    with pytest.raises(DataError, match="confidence must be between 0 and 1"):
        auroc_interval([0.2, 0.3], [0, 1], ["a", "b"], confidence=1.0)
