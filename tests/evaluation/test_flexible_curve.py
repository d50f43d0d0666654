"""The flexible calibration curve and the Brier score's parts, against computations of another kind."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize
from scipy.special import expit, logit

from clsgen.errors import DataError
from clsgen.evaluation.brier_parts import brier_parts
from clsgen.evaluation.flexible_curve import calibration_curve, calibration_errors
from clsgen.evaluation.logistic import fit_logistic
from clsgen.evaluation.metrics import brier


def draw(num_rows=400, seed=0):
    """Probabilities that are wrong in a curved way."""
    rng = np.random.default_rng(seed)
    prob = rng.beta(2, 3, num_rows)
    truth = expit(0.3 + 0.6 * logit(prob) + 0.25 * logit(prob) ** 2)
    return prob, (rng.random(num_rows) < truth).astype(int)


def cardinal(prob, shares):
    """A basis of the same space, made otherwise: natural splines through 1 at one knot and 0 at the others."""
    x = logit(prob)
    knots = np.quantile(x, shares)
    columns = []
    for one in np.eye(len(knots)):
        spline = CubicSpline(knots, one, bc_type="natural")
        inside = np.clip(x, knots[0], knots[-1])
        slope = np.where(x < knots[0], spline(knots[0], 1), spline(knots[-1], 1))
        columns.append(spline(inside) + slope * (x - inside))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(("num_rows", "shares"), [(150, (0.1, 0.5, 0.9)), (600, (0.05, 0.35, 0.65, 0.95))])
def test_errors_are_those_of_the_same_spline_fitted_by_another_optimizer(num_rows, shares):
    prob, label = draw(num_rows)
    design = cardinal(prob, shares)

    def loss(beta):
        z = design @ beta
        return np.sum(np.logaddexp(0, z) - label * z), design.T @ (expit(z) - label)

    beta = minimize(loss, np.zeros(len(shares)), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    gap = np.abs(expit(design @ beta) - prob)
    found = calibration_errors(prob, label)
    assert float(found.ici) == pytest.approx(gap.mean(), abs=1e-5)
    assert float(found.e50) == pytest.approx(np.quantile(gap, 0.5, method="inverted_cdf"), abs=1e-5)
    assert float(found.e90) == pytest.approx(np.quantile(gap, 0.9, method="inverted_cdf"), abs=1e-5)
    curve = calibration_curve(prob, label, np.arange(num_rows), num_points=7)
    at = cardinal(np.concatenate([prob, curve.prob]), shares)  # wrong knots: those of the joined rows
    assert not np.allclose(expit(at[-7:] @ beta), curve.observed)
    assert np.interp(curve.prob[3], np.sort(prob), expit(design @ beta)[np.argsort(prob)]) == pytest.approx(
        curve.observed[3], abs=0.01
    )


def test_the_fit_is_the_likeliest_where_few_probabilities_are_many_rows():
    rng = np.random.default_rng(6)
    for _ in range(200):
        levels = rng.choice([0, 0.1, 0.2, 0.3, 0.4, 0.7, 0.95, 1], rng.integers(3, 6), replace=False)
        prob = rng.choice(levels, rng.integers(25, 120))
        label = (rng.random(len(prob)) < rng.beta(0.5, 0.5)).astype(float)
        if len(set(label)) < 2 or np.ptp(prob) == 0:
            continue
        x = logit(np.clip(prob, 1e-9, 1 - 1e-9))
        design = np.stack([np.ones_like(x), x, np.maximum(x + 1, 0) ** 3 / 100], axis=1)
        beta = fit_logistic(design, label, np.ones((1, len(label))))[0]
        loss = lambda b: np.sum(np.logaddexp(0, design @ b) - label * (design @ b))  # noqa: B023, E731
        other = min(
            minimize(loss, start, method="Nelder-Mead", options={"maxiter": 4000}).fun for start in (beta, [0, 0, 0])
        )
        assert loss(beta) <= other + 1e-6


def test_what_is_not_found_in_time_is_no_number(monkeypatch):
    prob, label = draw(80)
    design = np.stack([np.ones(80), logit(prob)], axis=1)
    weight = np.ones((1, 80))
    assert np.isfinite(fit_logistic(design, label.astype(float), weight)).all()
    monkeypatch.setattr("clsgen.evaluation.logistic._MAX_TRIALS", 1)
    assert np.isnan(fit_logistic(design, label.astype(float), weight)).all()


def test_weights_that_count_give_what_repeated_rows_give():
    prob, label = draw(80)
    count = np.random.default_rng(1).integers(1, 3, 80)
    weighted = calibration_errors(prob, label, weight=np.stack([count, np.ones(80)]))
    plain = calibration_errors(prob, label)
    assert weighted.ici.shape == (2,)
    assert weighted.ici[1] == pytest.approx(float(plain.ici), abs=1e-9)
    assert weighted.ici[0] != pytest.approx(float(plain.ici), abs=1e-6)


def test_calibrated_rows_have_small_errors_and_curved_ones_large():
    rng = np.random.default_rng(2)
    prob = rng.beta(2, 3, 20_000)
    calibrated = calibration_errors(prob, (rng.random(20_000) < prob).astype(int))
    assert float(calibrated.ici) < 0.015
    prob, label = draw(20_000)
    truth = np.abs(expit(0.3 + 0.6 * logit(prob) + 0.25 * logit(prob) ** 2) - prob)
    assert float(calibration_errors(prob, label).ici) == pytest.approx(truth.mean(), abs=0.02)


@pytest.mark.parametrize("rows_a_group", [1, 4])
def test_the_band_is_as_wide_as_groups_drawn_anew_make_the_curve(rows_a_group):
    rng = np.random.default_rng(4)
    num_groups = 300
    curves, widths = [], []
    for _ in range(60):
        centre = np.repeat(rng.normal(-0.5, 1, num_groups), rows_a_group)
        prob = expit(centre + 0.3 * rng.normal(size=len(centre)))
        shared = np.repeat(rng.normal(0, 1.0, num_groups), rows_a_group)
        label = (rng.random(len(prob)) < expit(logit(prob) + shared)).astype(int)
        curve = calibration_curve(prob, label, np.repeat(np.arange(num_groups), rows_a_group), num_points=99)
        at = np.argmin(np.abs(curve.prob - 0.4))
        curves.append(logit(curve.observed[at]))
        widths.append((logit(curve.high[at]) - logit(curve.low[at])) / (2 * 1.96))
    assert np.median(widths) == pytest.approx(np.std(curves), rel=0.3)


def test_what_has_no_curve():
    assert np.isnan(float(calibration_errors([0.2, 0.4], [1, 1]).ici))
    assert np.isnan(float(calibration_errors([0.3, 0.3], [0, 1]).e90))
    assert np.isnan(float(calibration_errors([], []).ici))
    with pytest.raises(DataError, match="both classes and more than one probability"):
        calibration_curve([0.2, 0.4], [1, 1], ["a", "b"])
    with pytest.raises(DataError, match="one column a class"):
        calibration_errors([[0.2, 0.8]], [1])


def test_separated_rows_still_have_errors():
    found = calibration_errors([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])
    assert float(found.ici) == pytest.approx(0.15, abs=1e-3)  # the curve is a step: 0 below, 1 above


# ---- the Brier score's parts ----


def pooled(prob, label):
    """Isotonic regression by hand: neighbouring blocks are joined while their means fall; ties are one block."""
    blocks = []
    for value in sorted(set(prob)):
        at = [y for p, y in zip(prob, label, strict=True) if p == value]
        blocks.append([sum(at), len(at)])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            total, size = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += size
    return [total / size for total, size in blocks for _ in range(size)]


def test_parts_by_pooling_by_hand():
    rng = np.random.default_rng(0)
    prob = rng.integers(0, 12, 200) / 12
    label = (rng.random(200) < prob).astype(int)
    order = np.argsort(prob, kind="stable")
    best = np.mean((np.array(pooled(prob, label)) - label[order]) ** 2)
    base = label.mean() * (1 - label.mean())
    found = brier_parts(prob, label)
    assert found.uncertainty == pytest.approx(base)
    assert found.discrimination == pytest.approx(base - best)
    assert found.miscalibration == pytest.approx(float(brier(prob, label)) - best)
    parts = found.miscalibration - found.discrimination + found.uncertainty
    assert parts == pytest.approx(float(brier(prob, label)))
    assert np.isnan(brier_parts([], []).uncertainty)
