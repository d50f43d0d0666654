"""Calibrator fits: against scikit-learn, grid search, and rows simulated from known parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from clsgen.errors import CalibrationError
from clsgen.model.calibration import fit_calibrator


def _simulate(num_rows: int, slopes: Any, biases: Any, *, seed: int = 0, spread: float = 1.5) -> tuple[Any, Any]:
    """Logits, and labels drawn from softmax(slopes * z + biases)."""
    rng = np.random.default_rng(seed)
    logits_NC = rng.normal(0, spread, (num_rows, len(biases)))
    probs_NC = softmax(logits_NC * np.asarray(slopes) + np.asarray(biases), axis=1)
    labels_N = (rng.random((num_rows, 1)) > probs_NC.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return logits_NC, labels_N


def _platt_targets(labels_N: Any) -> Any:
    """Platt (1999), section 2.2: (N+ + 1) / (N+ + 2) and 1 / (N- + 2)."""
    num_positive, num_negative = (labels_N == 1).sum(), (labels_N == 0).sum()
    return np.where(labels_N == 1, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_platt_is_sklearns_logistic_regression_on_the_margin(scale: float) -> None:
    logits_NC, labels_N = _simulate(400, (0.7, 0.7), (0.0, -0.8))
    calibrator = fit_calibrator(logits_NC * scale + 3, labels_N)
    margin_N1, targets_N = (logits_NC[:, 1] - logits_NC[:, 0])[:, None], _platt_targets(labels_N)
    # A soft target t is a row of each class with weights t and 1 - t.
    reference = LogisticRegression(C=1e9, tol=1e-10, max_iter=10000).fit(
        np.vstack([margin_N1, margin_N1]),
        np.repeat([1, 0], len(labels_N)),
        sample_weight=np.concatenate([targets_N, 1 - targets_N]),
    )
    assert calibrator.method == "vector"
    assert calibrator.slopes[0] == calibrator.slopes[1]
    assert calibrator.slopes[1] * scale == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert calibrator.biases == pytest.approx((0, reference.intercept_[0]), rel=1e-3)


def test_temperature_is_the_best_of_a_grid() -> None:
    logits_NC, labels_N = _simulate(300, (0.4, 0.4, 0.4), (0.0, 0.0, 0.0), seed=1)
    calibrator = fit_calibrator(logits_NC, labels_N, method="temperature")
    counts_C = np.bincount(labels_N)
    targets_NC = np.full((300, 3), 1.0) / (counts_C[labels_N] + 3)[:, None]
    targets_NC[np.arange(300), labels_N] = (counts_C[labels_N] + 1) / (counts_C[labels_N] + 3)
    grid = np.arange(0.1, 1.0, 1e-3)
    losses = [-(targets_NC * log_softmax(slope * logits_NC, axis=1)).sum() for slope in grid]
    assert calibrator.slopes == pytest.approx((grid[np.argmin(losses)],) * 3, abs=1e-3)
    assert calibrator.biases == (0, 0, 0)


@pytest.mark.parametrize(
    ("slopes", "biases"), [((1.6, 1.6), (0.0, -1.0)), ((0.5, 1.0, 2.0), (0.0, 0.7, -1.2))], ids=["binary", "three"]
)
def test_known_parameters_come_back(slopes: tuple[float, ...], biases: tuple[float, ...]) -> None:
    calibrator = fit_calibrator(*_simulate(40_000, slopes, biases, seed=2))
    assert calibrator.slopes == pytest.approx(slopes, abs=0.06)
    assert calibrator.biases == pytest.approx(biases, abs=0.06)


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("method", ["vector", "temperature"])
def test_calibrated_logits_are_left_alone(method: Any, num_classes: int) -> None:
    logits_NC, labels_N = _simulate(40_000, (1.0,) * num_classes, (0.0,) * num_classes, seed=3)
    calibrator = fit_calibrator(logits_NC, labels_N, method=method)
    np.testing.assert_allclose(calibrator.probs(logits_NC), softmax(logits_NC, axis=1), atol=0.02)


def test_vector_lowers_the_loss_on_unseen_rows() -> None:
    slopes, biases = (0.3, 0.3, 0.3), (0.0, 1.0, -0.5)
    calibrator = fit_calibrator(*_simulate(600, slopes, biases, seed=4, spread=4))
    logits_NC, labels_N = _simulate(4000, slopes, biases, seed=5, spread=4)
    assert log_loss(labels_N, calibrator.probs(logits_NC)) < 0.8 * log_loss(labels_N, softmax(logits_NC, axis=1))


def test_mean_probability_is_the_prevalence() -> None:
    logits_NC, labels_N = _simulate(1000, (0.8, 0.8), (0.0, -3.0), seed=6)
    probs_NC = fit_calibrator(logits_NC, labels_N).probs(logits_NC)
    assert probs_NC[:, 1].mean() == pytest.approx(labels_N.mean(), abs=2e-3)


def test_ranking_survives_platt_and_argmax_survives_temperature() -> None:
    logits_NC, labels_N = _simulate(500, (0.9, 0.9), (0.0, -0.5), seed=7)
    margin_N = logits_NC[:, 1] - logits_NC[:, 0]
    probs_N = fit_calibrator(logits_NC, labels_N).probs(logits_NC)[:, 1]
    assert (np.argsort(probs_N) == np.argsort(margin_N)).all()
    assert roc_auc_score(labels_N, probs_N) == roc_auc_score(labels_N, margin_N)
    logits_NC, labels_N = _simulate(500, (0.3, 0.3, 0.3), (0.0, 0.0, 0.0), seed=7)
    probs_NC = fit_calibrator(logits_NC, labels_N, method="temperature").probs(logits_NC)
    assert (probs_NC.argmax(axis=1) == logits_NC.argmax(axis=1)).all()


def test_a_backwards_head_is_not_turned_round() -> None:
    logits_NC, labels_N = _simulate(1000, (-1.0, -1.0), (0.0, 0.0), seed=8)
    calibrator = fit_calibrator(logits_NC, labels_N)
    assert min(calibrator.slopes) > 0
    np.testing.assert_allclose(calibrator.probs(logits_NC)[:, 1], labels_N.mean(), atol=0.01)


@pytest.mark.parametrize("method", ["vector", "temperature"])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_separable_rows_stay_finite(method: Any, num_classes: int) -> None:
    labels_N = np.arange(90) % num_classes
    calibrator = fit_calibrator(np.eye(num_classes)[labels_N] * 8, labels_N, method=method)
    assert np.isfinite(calibrator.slopes).all()
    assert max(calibrator.slopes) < 10
    # Platt's target of the 90 / C rows of a class is what the fit can reach: (n_c + 1) / (n_c + C).
    count = 90 // num_classes
    right_N = calibrator.probs(np.eye(num_classes)[labels_N] * 8)[np.arange(90), labels_N]
    np.testing.assert_allclose(right_N, (count + 1) / (count + num_classes), atol=1e-4)


def test_constant_logits_give_the_prevalence() -> None:
    labels_N = np.repeat([0, 1], [150, 50])
    calibrator = fit_calibrator(np.full((200, 2), 0.1), labels_N)
    np.testing.assert_allclose(calibrator.probs([[0.1, 0.1]]), [[0.75, 0.25]], atol=1e-3)


def test_auto_depends_on_the_rarest_class() -> None:
    for num_classes, least in ((2, 20), (3, 50)):
        for rarest, method in ((least - 1, "temperature"), (least, "vector")):
            counts = [300] * (num_classes - 1) + [rarest]
            labels_N = np.repeat(np.arange(num_classes), counts)
            logits_NC = np.random.default_rng(0).normal(size=(len(labels_N), num_classes))
            assert fit_calibrator(logits_NC, labels_N).method == method
            assert fit_calibrator(logits_NC, labels_N, method="vector").method == "vector"


def test_a_head_that_barely_moved_is_spread_out_and_not_pressed_together() -> None:
    rng = np.random.default_rng(1)
    eta_N = rng.normal(-1, 1.3, 4000)
    labels_N = (rng.random(4000) < 1 / (1 + np.exp(-eta_N))).astype(int)
    logits_NC = np.stack([np.zeros(4000), 0.05 * eta_N - 0.95], axis=1)  # the prevalence and a hint
    first = int(np.flatnonzero(labels_N.cumsum() == 25)[0]) + 1
    probs_N = fit_calibrator(logits_NC[:first], labels_N[:first]).probs(logits_NC)[:, 1]
    assert np.quantile(probs_N, 0.9) - np.quantile(probs_N, 0.1) > 0.3
    assert np.abs(probs_N - 1 / (1 + np.exp(-eta_N))).mean() < 0.1


def test_order_of_rows_does_not_matter() -> None:
    logits_NC, labels_N = _simulate(300, (0.5, 1.0, 1.5), (0.0, 0.3, -0.3), seed=9)
    order = np.random.default_rng(0).permutation(300)
    once, again = fit_calibrator(logits_NC, labels_N), fit_calibrator(logits_NC[order], labels_N[order])
    assert once.slopes == pytest.approx(again.slopes, rel=1e-4)


def test_none_is_the_softmax() -> None:
    logits_NC, labels_N = _simulate(100, (1.0, 1.0), (0.0, 0.0))
    calibrator = fit_calibrator(logits_NC, labels_N, method="none")
    assert not calibrator.is_calibrated
    assert (calibrator.probs(logits_NC) == np.clip(softmax(logits_NC, axis=1), 1 / 102, 1 - 1 / 102)).all()


def test_binary_isotonic_is_sklearns() -> None:
    logits_NC, labels_N = _simulate(1500, (0.5, 0.5), (0.0, -1.0), seed=10)
    margin_N = logits_NC[:, 1] - logits_NC[:, 0]
    unseen_NC, _ = _simulate(500, (0.5, 0.5), (0.0, -1.0), seed=11, spread=3)
    reference = IsotonicRegression(out_of_bounds="clip").fit(margin_N, labels_N)
    expected_N = np.clip(reference.predict(unseen_NC[:, 1] - unseen_NC[:, 0]), 1 / 1502, 1 - 1 / 1502)
    calibrator = fit_calibrator(logits_NC, labels_N, method="isotonic")
    np.testing.assert_allclose(calibrator.probs(unseen_NC)[:, 1], expected_N, atol=1e-9)
    assert not calibrator.is_foldable


def test_isotonic_of_three_classes_lowers_the_loss() -> None:
    logits_NC, labels_N = _simulate(3000, (0.3, 0.3, 0.3), (0.0, 0.0, 0.0), seed=12, spread=4)
    unseen_NC, unseen_N = _simulate(3000, (0.3, 0.3, 0.3), (0.0, 0.0, 0.0), seed=13, spread=4)
    probs_NC = fit_calibrator(logits_NC, labels_N, method="isotonic").probs(unseen_NC)
    np.testing.assert_allclose(probs_NC.sum(axis=1), 1, atol=1e-12)
    assert log_loss(unseen_N, probs_NC) < log_loss(unseen_N, softmax(unseen_NC, axis=1))


@pytest.mark.parametrize("counts", [(899, 100), (901, 99)])
def test_isotonic_needs_rows(counts: tuple[int, int]) -> None:
    logits_NC = np.random.default_rng(0).normal(size=(sum(counts), 2))
    message = r"isotonic must be fitted on 1000 rows or more, 100 of the rarest class; got class counts"
    with pytest.raises(CalibrationError, match=message):
        fit_calibrator(logits_NC, np.repeat([0, 1], counts), method="isotonic")


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([0.1, 0.2], [0, 1], r"logits must be of shape \(N, C >= 2\); got \(2,\)"),
        ([[0.1], [0.2]], [0, 0], r"logits must be of shape \(N, C >= 2\); got \(2, 1\)"),
        ([[0.1, 0.2], [0.1, np.nan]], [0, 1], r"logits must be finite; got \[0.1, nan\] in row 1"),
        ([[0.1, 0.2], [0.1, 0.3]], [0, 1, 1], r"labels must be of shape \(2,\), one a row of the logits; got \(3,\)"),
        ([[0.1, 0.2], [0.1, 0.3]], [0, 2], r"labels must be integers from 0 to 1; got \[0, 2\]"),
        ([[0.1, 0.2], [0.1, 0.3]], [0, -100], r"labels must be integers from 0 to 1; got \[-100, 0\]"),
        ([[0.1, 0.2], [0.1, 0.3]], [0.0, 1.0], r"labels must be integers from 0 to 1"),
        ([[0.1, 0.2], [0.1, 0.3]], [1, 1], r"rows must hold every class; got class counts \(0, 2\)"),
        (np.zeros((0, 2)), [], r"rows must hold every class; got class counts \(0, 0\)"),
    ],
)
def test_unusable_rows_are_refused(logits: Any, labels: Any, message: str) -> None:
    for method in ("auto", "none"):
        with pytest.raises(CalibrationError, match=message):
            fit_calibrator(logits, labels, method=method)  # type: ignore[arg-type]


def test_a_fit_that_stops_early_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from clsgen.model import calibration

    minimize = calibration.minimize

    def stopped(*args: Any, **kwargs: Any) -> Any:
        return minimize(*args, **{**kwargs, "options": {"maxiter": 1}})

    monkeypatch.setattr(calibration, "minimize", stopped)
    with pytest.raises(CalibrationError, match=r"the fit must be converged \(gradient at most 1e-05\); got"):
        fit_calibrator(*_simulate(300, (0.5, 1.0, 1.5), (0.0, 0.3, -0.3)))
