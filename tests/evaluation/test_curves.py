"""Curves against scikit-learn and against counting by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics as reference

from clsgen.config.prediction import EvaluateSettings
from clsgen.evaluation.curves import coverage_curve, curves, net_benefit_gain
from clsgen.evaluation.metrics import ece
from clsgen.evaluation.table import tabulate
from clsgen.types import Prediction, TaskSpec

SETTINGS = EvaluateSettings(num_bootstrap=100, num_bins=5)
SPEC = TaskSpec("toy", ("no", "yes"), "Is it so?", positive="yes")
THREE = TaskSpec("toy3", ("a", "b", "c"), "Which?")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(2)
    prob = rng.beta(1, 2, 250).round(2)
    return [
        Prediction(
            id=f"row{i:03d}",
            probs={"no": 1 - float(p), "yes": float(p)},
            logits=(),
            decision="yes" if p >= 0.3 else "no",
            threshold=0.3,
            label="yes" if rng.random() < p else "no",
            group=f"g{i // 2}",
        )
        for i, p in enumerate(prob)
    ]


def arrays(rows):
    return np.array([row.probs["yes"] for row in rows]), np.array([row.label == "yes" for row in rows])


def test_roc_and_pr_curves_pass_through_scikit_learns_points(rows):
    prob, label = arrays(rows)
    found = curves(tabulate(rows, SPEC), settings=SETTINGS)["yes"]
    roc = found["roc"]
    area = np.trapezoid(roc["sensitivity"], roc["false_positive_rate"])
    assert area == pytest.approx(reference.roc_auc_score(label, prob))
    precision, recall, _ = reference.precision_recall_curve(label, prob)
    points = set(zip(np.round(recall, 9), np.round(precision, 9), strict=True))
    drawn = set(zip(np.round(found["pr"]["recall"], 9), np.round(found["pr"]["precision"], 9), strict=True))
    assert drawn <= points
    assert len(drawn) > 50


def test_every_threshold_is_counted_as_by_hand(rows):
    prob, label = arrays(rows)
    found = curves(tabulate(rows, SPEC), settings=SETTINGS)["yes"]["thresholds"]
    assert len(found["true_positives"]) == 1001
    for cut in (0, 130, 300, 555, 1000):
        is_decided = prob >= cut / 1000
        assert found["true_positives"][cut] == int((is_decided & label).sum())
        assert found["false_positives"][cut] == int((is_decided & ~label).sum())


def test_bins_hold_equal_mass_and_their_observed_share(rows):
    prob, label = arrays(rows)
    bins = curves(tabulate(rows, SPEC), settings=SETTINGS)["yes"]["bins"]
    assert all(abs(each["num_rows"] - 50) <= 1 for each in bins)  # rows of one probability share a bin
    assert sum(each["observed"] * each["num_rows"] for each in bins) == pytest.approx(label.sum())
    assert sum(each["prob"] * each["num_rows"] for each in bins) == pytest.approx(prob.sum())
    assert all(each["low"] <= each["observed"] <= each["high"] for each in bins)


def test_bins_keep_equal_probabilities_together_and_add_up_to_the_ece(rows):
    flat = [replace(row, probs={"no": 0.75, "yes": 0.25}, threshold=None) for row in rows]
    assert len(curves(tabulate(flat, SPEC), settings=SETTINGS)["yes"]["bins"]) == 1
    coarse = [replace(row, probs={"no": 1 - p, "yes": p}) for row in rows for p in [round(row.probs["yes"], 1)]]
    coarse = [replace(row, threshold=None) for row in coarse]
    bins = curves(tabulate(coarse, SPEC), settings=SETTINGS)["yes"]["bins"]
    prob, label = arrays(coarse)
    gaps = sum(each["num_rows"] * abs(each["prob"] - each["observed"]) for each in bins)
    assert gaps / len(coarse) == pytest.approx(float(ece(prob, label, num_bins=SETTINGS.num_bins)))
    assert bins == curves(tabulate(coarse[::-1], SPEC), settings=SETTINGS)["yes"]["bins"]


def test_the_bands_of_bins_and_curve_have_the_confidence_that_is_asked_for(rows):
    table = tabulate(rows, SPEC)
    widths = []
    for confidence in (0.5, 0.99):
        found = curves(table, settings=SETTINGS.model_copy(update={"confidence": confidence}))["yes"]
        curve = found["calibration"]
        widths.append(
            (np.subtract(curve["high"], curve["low"]).mean(), found["bins"][0]["high"] - found["bins"][0]["low"])
        )
    assert (np.array(widths[1]) > 1.5 * np.array(widths[0])).all()


def test_the_gain_at_the_threshold_is_the_curves_and_its_interval_holds_it(rows):
    prob, label = arrays(rows)
    threshold = rows[0].threshold
    found = net_benefit_gain(tabulate(rows, SPEC), settings=SETTINGS)
    decided, odds = prob >= threshold, threshold / (1 - threshold)
    assert found.model == pytest.approx(np.mean(decided & label) - odds * np.mean(decided & ~label))
    assert found.default == pytest.approx(max(0, label.mean() - odds * (1 - label.mean())))
    assert found.low < found.model - found.default < found.high
    one = [replace(row, label="no") for row in rows]
    assert net_benefit_gain(tabulate(one, SPEC), settings=SETTINGS) is None


def test_net_benefit_is_the_formula_and_lies_in_its_band(rows):
    prob, label = arrays(rows)
    found = curves(tabulate(rows, SPEC), settings=SETTINGS)["yes"]["net_benefit"]
    at = found["threshold"].index(pytest.approx(0.25))
    is_decided = prob >= found["threshold"][at]
    odds = 0.25 / 0.75
    expected = ((is_decided & label).sum() - odds * (is_decided & ~label).sum()) / len(label)
    assert found["model"][at] == pytest.approx(expected)
    assert all(
        low <= value <= high for low, value, high in zip(found["low"], found["model"], found["high"], strict=True)
    )


def test_coverage_keeps_the_surest_first(rows):
    curve = coverage_curve(tabulate(rows, SPEC))
    wrong = np.mean([row.decision != row.label for row in rows])
    assert curve["coverage"][-1] == 1
    assert curve["risk"][-1] == pytest.approx(wrong)
    assert curve["risk"][0] <= wrong


def test_of_three_classes_each_has_its_curves(rows):
    rng = np.random.default_rng(3)
    three = [
        replace(
            row,
            probs=dict(zip("abc", map(float, probs), strict=True)),
            decision="abc"[int(np.argmax(probs))],
            label=str(rng.choice(list("abc"), p=probs)),
            threshold=None,
        )
        for row, probs in zip(rows, rng.dirichlet([1, 1, 1], len(rows)), strict=True)
    ]
    found = curves(tabulate(three, THREE), settings=SETTINGS)
    assert list(found) == ["a", "b", "c"]
    area = np.trapezoid(found["b"]["roc"]["sensitivity"], found["b"]["roc"]["false_positive_rate"])
    expected = reference.roc_auc_score([row.label == "b" for row in three], [row.probs["b"] for row in three])
    assert area == pytest.approx(expected, abs=2e-3)  # thinned
    assert coverage_curve(tabulate(three, THREE))["coverage"][-1] == 1


def test_one_class_has_no_curve_and_says_why(rows):
    found = curves(tabulate([replace(row, label="no") for row in rows], SPEC), settings=SETTINGS)
    assert found == {"yes": {"reason": "a class has no row"}}
    assert coverage_curve(tabulate([replace(row, label=None) for row in rows], SPEC)) is None
