from __future__ import annotations

import math
import time

import numpy as np
import pytest

from clsgen.errors import DataError
from clsgen.evaluation.arrays import weighted_mean
from clsgen.evaluation.intervals import Statistic, cluster_bootstrap, draw_groups, paired_difference
from clsgen.evaluation.metrics import auprc, auroc, brier, ece, log_loss


def _mean(value: np.ndarray, rows: np.ndarray | None = None) -> Statistic:
    return Statistic(lambda weight: weighted_mean(value, weight), np.arange(len(value)) if rows is None else rows)


def test_every_draw_takes_as_many_groups_as_there_are_and_rows_follow_their_group():
    group = ["a", "b", "b", "c"]
    draws = draw_groups(group, [0, 0, 1, 0], num_draws=50, seed=0)
    assert (draws.count_RG.sum(axis=1) == 3).all()
    weight = np.concatenate([draws.weights(chunk) for chunk in draws.chunks()])
    assert weight.shape == (50, 4)
    assert (weight[:, 1] == weight[:, 2]).all()


def test_draws_hold_every_class_and_redrawn_ones_are_counted():
    # Class 1 stands in one group of ten: a draw lacks it with probability 0.9^10 = 0.349.
    label = np.array([1] + [0] * 9)
    draws = draw_groups([str(i) for i in range(10)], label, num_draws=1000, seed=0)
    assert (draws.count_RG[:, 0] > 0).all()
    # Redrawn draws are geometric: mean 0.349 / 0.651 = 0.536 a draw, standard deviation 0.029 for 1,000.
    assert 0.536 - 0.12 < draws.num_redrawn / 1000 < 0.536 + 0.12


def test_rows_without_label_ask_for_no_redraw():
    draws = draw_groups(["a", "b", "c"], [-1, -1, -1], num_draws=100, seed=0)
    assert draws.num_redrawn == 0
    assert len(draws.count_RG) == 100


def test_a_seed_fixes_the_draws_and_another_changes_them():
    group, label = [str(i) for i in range(30)], [i % 2 for i in range(30)]
    value = np.arange(30.0)
    first, same, other = (
        cluster_bootstrap({"m": _mean(value)}, draw_groups(group, label, num_draws=200, seed=seed))["m"]
        for seed in (1, 1, 2)
    )
    assert first == same
    assert first[1:3] != other[1:3]
    assert first.estimate == other.estimate == 14.5


def test_interval_of_a_mean_is_that_of_the_normal_theory():
    rng = np.random.default_rng(3)
    value = rng.normal(size=400)
    found = cluster_bootstrap(
        {"m": _mean(value)}, draw_groups([str(i) for i in range(400)], np.zeros(400, int), num_draws=4000, seed=0)
    )["m"]
    half_width = 1.96 * value.std() / math.sqrt(400)
    assert found.low == pytest.approx(value.mean() - half_width, abs=0.1 * half_width)
    assert found.high == pytest.approx(value.mean() + half_width, abs=0.1 * half_width)


def test_rows_that_repeat_within_a_group_do_not_narrow_the_interval():
    rng = np.random.default_rng(4)
    value = rng.normal(size=60)
    group = np.array([str(i) for i in range(60)])
    single = cluster_bootstrap({"m": _mean(value)}, draw_groups(group, np.zeros(60, int), seed=5))["m"]
    repeated = cluster_bootstrap(
        {"m": _mean(np.repeat(value, 5))}, draw_groups(np.repeat(group, 5), np.zeros(300, int), seed=5)
    )["m"]
    assert repeated[:3] == pytest.approx(single[:3])
    assert (repeated.num_rows, repeated.num_groups) == (300, 60)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(6)
    num_covered = 0
    for seed in range(200):
        value = np.repeat(rng.normal(size=40), 3) + 0.3 * rng.normal(size=120)
        group = np.repeat([str(i) for i in range(40)], 3)
        draws = draw_groups(group, np.zeros(120, int), num_draws=200, seed=seed)
        found = cluster_bootstrap({"m": _mean(value)}, draws, confidence=0.9)["m"]
        num_covered += found.low <= 0 <= found.high
    # 0.9 of 200 give or take three standard errors (4.2), less what a percentile interval lacks at 40 groups.
    assert 163 <= num_covered <= 193


def test_an_explicit_resample_gives_the_same_interval():
    rng = np.random.default_rng(7)
    prob = np.round(rng.random(40), 1)
    label = (rng.random(40) < prob).astype(int)
    group = np.array([str(i // 2) for i in range(40)])
    draws = draw_groups(group, label, num_draws=100, seed=8)
    statistic = Statistic(lambda weight: auroc(prob, label, weight=weight), np.arange(40))
    found = cluster_bootstrap({"auroc": statistic}, draws)["auroc"]
    resampled = []
    for counts in draws.count_RG:
        chosen = np.repeat(np.arange(40), counts[draws.group_N])
        resampled.append(float(auroc(prob[chosen], label[chosen])))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(resampled, [2.5, 97.5])))


def test_statistics_of_some_rows_count_their_own_rows_groups_and_undefined_draws():
    group = ["a", "a", "b", "c", "d", "e"]
    draws = draw_groups(group, [0, 1, 0, 1, 0, 1], num_draws=300, seed=9)
    found = cluster_bootstrap(
        {"some": _mean(np.array([1.0, 3.0]), rows=np.array([1, 2])), "all": _mean(np.ones(6))}, draws
    )
    assert (found["some"].num_rows, found["some"].num_groups) == (2, 2)
    # Neither a nor b is drawn with probability 0.6^5 = 0.078 (redrawing changes it little).
    assert 0 < found["some"].num_undefined < 60
    assert found["all"].num_undefined == 0
    assert found["some"].estimate == 2.0


def test_one_group_has_an_estimate_and_no_interval():
    found = cluster_bootstrap({"m": _mean(np.array([1.0, 2.0]))}, draw_groups(["a", "a"], [0, 1]))["m"]
    assert found.estimate == 1.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_classes_in_hopelessly_few_groups_leave_no_interval():
    # A draw of 12 groups holds all 12 classes with probability 12!/12^12 = 0.00005.
    draws = draw_groups([str(i) for i in range(12)], range(12), num_draws=100, seed=0)
    assert len(draws.count_RG) == 0
    assert draws.num_redrawn > 0
    assert math.isnan(cluster_bootstrap({"m": _mean(np.arange(12.0))}, draws)["m"].low)


def test_an_undefined_statistic_stays_undefined():
    draws = draw_groups(["a", "b", "c"], [0, 0, 0], num_draws=100)
    statistic = Statistic(lambda weight: auroc([0.1, 0.2, 0.3], [0, 0, 0], weight=weight), np.arange(3))
    found = cluster_bootstrap({"auroc": statistic}, draws)["auroc"]
    assert all(math.isnan(number) for number in found[:3])


def test_difference_is_paired():
    rng = np.random.default_rng(10)
    common = rng.normal(size=200)
    first, second = common + 0.1, common
    draws = draw_groups([str(i) for i in range(200)], np.zeros(200, int), seed=0)
    found = paired_difference(_mean(first), _mean(second), draws)
    # The rows' own spread cancels: what is left is the shift, to rounding.
    assert found[:3] == pytest.approx((0.1, 0.1, 0.1))


def test_difference_of_different_rows_is_refused():
    draws = draw_groups(["a", "b", "c"], [0, 0, 1])
    with pytest.raises(DataError, match="first and second must read the same rows in the same order; got 3 and 2"):
        paired_difference(_mean(np.ones(3)), _mean(np.ones(2), rows=np.array([0, 1])), draws)


def test_bad_input_is_named():
    with pytest.raises(DataError, match=r"label must be as long as group \(2\); got \(1,\)"):
        draw_groups(["a", "b"], [0])
    with pytest.raises(DataError, match=r"confidence must be between 0 and 1; got 1.5"):
        cluster_bootstrap({}, draw_groups(["a", "b"], [0, 1]), confidence=1.5)


def test_two_thousand_rows_a_thousand_draws_and_five_metrics_take_seconds():
    rng = np.random.default_rng(11)
    prob = rng.random(2000)
    label = (rng.random(2000) < prob).astype(int)
    draws = draw_groups([str(i) for i in range(2000)], label, num_draws=1000)
    metrics = {"auroc": auroc, "auprc": auprc, "brier": brier, "log_loss": log_loss, "ece": ece}
    statistics = {
        name: Statistic(lambda weight, metric=metric: metric(prob, label, weight=weight), np.arange(2000))
        for name, metric in metrics.items()
    }
    start = time.process_time()
    found = cluster_bootstrap(statistics, draws)
    assert time.process_time() - start < 10
    assert all(each.low < each.estimate < each.high for name, each in found.items() if name != "ece")
