"""Conformal sets: the floors by hand, the promise by simulation, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from clsgen.errors import CalibrationError, ConfigError
from clsgen.evaluation.conformal import conformal_floors

CHANCE = 4  # standard errors: one false alarm in 15,000


def draw(rng, num_rows):
    """Three classes, the first one rare, and probabilities that know something of them."""
    label = rng.choice(3, size=num_rows, p=[0.1, 0.3, 0.6])
    logits = rng.normal(size=(num_rows, 3)) + 1.2 * np.eye(3)[label] + np.log([0.1, 0.3, 0.6])
    prob = np.exp(logits)
    return prob / prob.sum(1, keepdims=True), label


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("is_by_class", [False, True])
def test_the_promised_share_is_kept_over_many_calibrations(coverage, is_by_class):
    rng = np.random.default_rng(5)
    held, held_rare = [], []
    for _ in range(400):
        prob, label = draw(rng, 300)
        floors = conformal_floors(prob, label, coverage=coverage, is_by_class=is_by_class, role="calibration")
        new_prob, new_label = draw(rng, 500)
        is_in = (new_prob >= floors)[np.arange(500), new_label]
        held.append(is_in.mean())
        held_rare.append(is_in[new_label == 0].mean())
    error = np.std(held) / 20
    assert coverage - CHANCE * error <= np.mean(held)
    assert np.mean(held) <= coverage + 0.04  # not by saying everything
    if is_by_class:
        assert np.mean(held_rare) >= coverage - CHANCE * np.std(held_rare) / 20
    else:
        assert np.mean(held_rare) < coverage - 0.05, "over all rows nothing is promised to the rare class"


def test_the_kth_smallest_by_hand():
    own = np.array([0.9, 0.4, 0.7, 0.2, 0.6])  # n = 5; coverage 2/3: k = floor(6 / 3) = 2
    prob = np.stack([own, 1 - own], axis=1)
    floors = conformal_floors(prob, [0] * 5, coverage=2 / 3, is_by_class=False, role="calibration")
    assert floors.tolist() == [0.4, 0.4]


def test_too_few_rows_for_the_promise_exclude_no_label():
    prob, label = np.array([[0.9, 0.1], [0.2, 0.8]]), [0, 1]
    assert conformal_floors(prob, label, coverage=0.9, is_by_class=True, role="calibration").tolist() == [0.0, 0.0]


def test_what_cannot_be_used_is_refused():
    prob = np.array([[0.9, 0.1], [0.2, 0.8]])
    with pytest.raises(ConfigError, match="role must be 'calibration'; got test"):
        conformal_floors(prob, [0, 1], coverage=0.9, is_by_class=False, role="test")
    with pytest.raises(CalibrationError, match="class 1 has none"):
        conformal_floors(prob, [0, 0], coverage=0.9, is_by_class=True, role="calibration")
    with pytest.raises(ConfigError, match="above 0 and below 1; got 1"):
        conformal_floors(prob, [0, 1], coverage=1, is_by_class=False, role="calibration")
    with pytest.raises(ConfigError, match=r"shape \(N, C\)"):
        conformal_floors([0.1, 0.9], [0, 1], coverage=0.9, is_by_class=False, role="calibration")
