"""Slope, intercept, smooth ECE, net benefit and risk-coverage against plain computations of the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from clsgen.errors import DataError
from clsgen.evaluation.calibration_line import calibration_in_the_large, calibration_line
from clsgen.evaluation.net_benefit import decision_curve
from clsgen.evaluation.risk_coverage import area_under_risk, risk_coverage
from clsgen.evaluation.smooth_ece import smooth_ece, smoothed_error


def rows(seed: int, num_rows: int = 400, *, slope: float = 0.6, intercept: float = -0.4):
    """Probabilities whose logits are too extreme by 1 / slope."""
    rng = np.random.default_rng(seed)
    prob = expit(rng.normal(scale=1.5, size=num_rows))
    label = (rng.random(num_rows) < expit(intercept + slope * logit(prob))).astype(int)
    return prob, label


@pytest.mark.parametrize("seed", range(3))
def test_the_line_is_scikit_learns_logistic_regression(seed):
    prob, label = rows(seed)
    found = calibration_line(prob, label)
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(prob)[:, None], label)
    assert float(found.slope) == pytest.approx(fitted.coef_[0, 0], abs=1e-4)
    assert float(found.intercept) == pytest.approx(fitted.intercept_[0], abs=1e-4)


def test_the_line_finds_what_was_put_in():
    found = calibration_line(*rows(0, 100_000))
    assert (float(found.slope), float(found.intercept)) == pytest.approx((0.6, -0.4), abs=0.03)


def test_in_the_large_is_the_offset_of_greatest_likelihood_and_evens_the_means():
    prob, label = rows(1)
    found = float(calibration_in_the_large(prob, label))
    assert expit(logit(prob) + found).mean() == pytest.approx(label.mean(), abs=1e-9)
    loss = lambda a: -np.log(np.where(label, expit(logit(prob) + a), 1 - expit(logit(prob) + a))).sum()  # noqa: E731
    assert found == pytest.approx(float(minimize(loss, [0.0]).x[0]), abs=1e-4)


def test_whole_weights_are_rows_repeated():
    prob, label = rows(2, 60)
    weight = np.random.default_rng(0).integers(0, 4, (5, 60))
    line, large = calibration_line(prob, label, weight=weight), calibration_in_the_large(prob, label, weight=weight)
    smooth = smooth_ece(prob, label, weight=weight)
    curve = decision_curve(prob, label, [0.2, 0.5], weight=weight)
    for draw in range(5):
        again = np.repeat(prob, weight[draw]), np.repeat(label, weight[draw])
        assert float(line.slope[draw]) == pytest.approx(float(calibration_line(*again).slope), abs=1e-8)
        assert float(large[draw]) == pytest.approx(float(calibration_in_the_large(*again)), abs=1e-8)
        assert float(smooth[draw]) == pytest.approx(float(smooth_ece(*again)), abs=1e-9)
        assert curve.model[draw] == pytest.approx(decision_curve(*again, [0.2, 0.5]).model)


def test_the_equations_of_largest_likelihood_hold_for_probabilities_of_every_make():
    """Few values, 0 and 1 among them, and labels that have nothing to do with them: Newton's steps go astray there."""
    rng = np.random.default_rng(5)
    values = np.array([0, 1e-12, 0.001, 0.1, 0.2, 0.3, 0.5, 0.8, 0.9, 0.999, 1])
    num_separated = 0
    for _ in range(400):
        prob = rng.choice(rng.choice(values, rng.integers(2, 6), replace=False), rng.integers(20, 300))
        label = (rng.random(len(prob)) < rng.beta(0.5, 0.5)).astype(int)
        if rng.random() < 0.3:
            label = (prob > np.median(prob)).astype(int)
        if len(set(label)) < 2:
            continue
        x = logit(np.clip(prob, 1e-9, 1 - 1e-9))
        large = float(calibration_in_the_large(prob, label))
        assert expit(x + large).mean() == pytest.approx(label.mean(), abs=1e-9)
        line = calibration_line(prob, label)
        is_separated = x[label == 1].min() >= x[label == 0].max() or x[label == 1].max() <= x[label == 0].min()
        assert math.isnan(float(line.slope)) == is_separated
        num_separated += is_separated
        if not is_separated:
            gap = label - expit(float(line.intercept) + float(line.slope) * x)
            assert np.abs([gap.mean(), (gap * x).mean()]).max() < 1e-7
    assert 20 < num_separated < 200


def test_a_perfectly_wrong_model_has_no_slope_and_no_interval_of_one():
    label = np.arange(60) % 2
    for prob in (label, 1 - label):
        assert math.isnan(float(calibration_line(prob, label).slope))


def test_probabilities_of_0_and_1_are_no_accident():
    prob, label = rows(3, 50)
    prob[:2] = 0.0, 1.0
    label[:2] = 0, 1
    assert math.isfinite(float(calibration_line(prob, label).slope))


@pytest.mark.parametrize(
    ("prob", "label"),
    [
        ([0.2, 0.3], [1, 1]),
        ([0.5, 0.5, 0.5], [0, 1, 1]),
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]),
        ([], []),
    ],
    ids=["one class", "one probability", "separated", "empty"],
)
def test_a_line_that_is_not_there_is_nan(prob, label):
    found = calibration_line(prob, label)
    assert math.isnan(float(found.slope))
    assert math.isnan(float(found.intercept))


def smoothed_by_images(prob, label, scale, num_points=800):
    """The integral as the paper writes it: a Gaussian and its mirror images at both ends, on a fine grid."""
    grid = (np.arange(num_points) + 0.5) / num_points
    kernel = np.zeros((num_points, len(prob)))
    for image in range(-2, 3):
        kernel += norm.pdf(grid[:, None] - (2 * image + prob[None]), scale=scale)
        kernel += norm.pdf(grid[:, None] - (2 * image - prob[None]), scale=scale)
    return np.abs(kernel @ (label - prob) / len(prob)).mean()


@pytest.mark.parametrize("scale", [0.02, 0.1, 0.5])
def test_the_smoothed_error_is_the_integral(scale):
    prob, label = rows(4, 120)
    found = float(smoothed_error(prob, label, scale=scale))
    assert found == pytest.approx(smoothed_by_images(prob, label, scale), rel=0.01)


def test_smooth_ece_is_where_error_and_scale_meet():
    prob, label = rows(5, 300)
    found = float(smooth_ece(prob, label))
    assert 0.01 < found < 0.3
    assert smoothed_by_images(prob, label, found) == pytest.approx(found, rel=0.01)


def test_smooth_ece_is_small_for_true_probabilities_and_large_for_false_ones():
    prob, _ = rows(6, 20_000)
    rng = np.random.default_rng(0)
    right = (rng.random(len(prob)) < prob).astype(int)
    assert float(smooth_ece(prob, right)) < 0.02
    assert float(smooth_ece(prob, 1 - right)) > 0.2
    both = np.stack([1 - prob, prob], axis=1)
    assert float(smooth_ece(both, right)) == pytest.approx(float(smooth_ece(prob, right)), abs=1e-6)
    assert math.isnan(float(smooth_ece([], [])))


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_net_benefit_by_counting(seed):
    prob, label = rows(seed, 40)
    prob = np.round(prob, 1).clip(0.05, 0.95)
    cuts = [0.1, 0.3, 0.5, 0.9]
    curve = decision_curve(prob, label, cuts)
    for place, cut in enumerate(cuts):
        is_decided = prob >= cut
        true, false = (is_decided & (label == 1)).mean(), (is_decided & (label == 0)).mean()
        assert curve.model[place] == pytest.approx(true - false * cut / (1 - cut))
        assert curve.treat_all[place] == pytest.approx(label.mean() - (1 - label.mean()) * cut / (1 - cut))


def test_risk_and_coverage_by_counting():
    rng = np.random.default_rng(0)
    sure, decided, label = rng.integers(0, 6, 50) / 6, rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    curve = risk_coverage(sure, decided, label, num_classes=3)
    for coverage, risk, cut in zip(*curve, strict=True):
        is_kept = sure >= cut
        assert coverage == pytest.approx(is_kept.mean())
        assert risk == pytest.approx((decided != label)[is_kept].mean())
    assert curve.coverage[-1] == 1
    assert 0 < area_under_risk(curve) < 1
    assert math.isnan(area_under_risk(risk_coverage([], [], [])))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibration_line([[0.5, 0.5]], [1]), "two classes; got one column a class"),
        (lambda: calibration_in_the_large([1.5], [1]), "prob must be from 0 to 1; got 1.5"),
        (lambda: decision_curve([0.5], [1], [1.0]), "thresholds must be above 0 and below 1"),
        (lambda: decision_curve([[0.5, 0.5]], [1], [0.5]), "two classes; got one column a class"),
        (lambda: risk_coverage([0.5], [1], [1, 0]), "must be of one length; got 1, 1 and 2"),
        (lambda: risk_coverage([float("nan")], [1], [1]), "confidence must be finite"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(DataError, match=message):
        call()
