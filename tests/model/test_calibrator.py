"""The fitted calibrator: bounds, another prior, storage."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from clsgen.errors import ArtifactError, CalibrationError, ConfigError
from clsgen.model.calibrator import Calibrator, Knots

BINARY = Calibrator("vector", (6, 2), slopes=(1.1, 1.1), biases=(0.0, -0.7))
THREE = Calibrator("vector", (5, 2, 1), slopes=(0.3, 1 / 3, 2.0), biases=(0.0, 0.1, -1e-17))
CURVE = Knots((-2.0, 0.1, 3.0), (0.0, 1 / 3, 1.0))
ISOTONIC = Calibrator("isotonic", (600, 400), (1.0, 1.0), (0.0, 0.0), (Knots((-3.0, 2.0), (0.0, 1.0)), CURVE))


def test_prevalence_and_rows() -> None:
    assert BINARY.num_rows == 8
    assert BINARY.prevalence == (0.75, 0.25)
    assert BINARY.is_calibrated
    assert BINARY.is_foldable


def test_probs_are_the_softmax_of_the_affine_logits() -> None:
    logits_NC = [[0.2, 1.0, 0.3], [-1.0, 0.5, 0.4]]
    expected = softmax(np.array(logits_NC) * [0.3, 1 / 3, 2.0] + [0.0, 0.1, -1e-17], axis=1)
    np.testing.assert_allclose(THREE.probs(logits_NC), expected, rtol=1e-12)


def test_two_classes_are_clipped_at_one_in_n_plus_two() -> None:
    probs_NC = BINARY.probs([[0.0, 1e4], [1e4, 0.0], [0.0, 1.0]])
    assert probs_NC[:2].tolist() == [[0.1, 0.9], [0.9, 0.1]]
    assert probs_NC[2].tolist() == softmax([0.0, 1.1 - 0.7]).tolist()


def test_more_classes_hold_the_bound_and_sum_to_one() -> None:
    # n = 8: least 0.1. (0, 0.09.., 0.9..): raising the first pushes the second under, so both are held.
    plain = Calibrator("none", (5, 2, 1), (1.0,) * 3, (0.0,) * 3)
    by_hand = {
        (1e-9, 0.5, 0.5): (0.1, 0.45, 0.45),
        (1e-9, 0.105, 0.895): (0.1, 0.1, 0.8),
        (0.2, 0.3, 0.5): (0.2, 0.3, 0.5),
    }
    probs_NC = plain.probs(np.log(list(by_hand)))
    np.testing.assert_allclose(probs_NC, list(by_hand.values()), atol=1e-8)
    extreme_NC = plain.probs(np.random.default_rng(0).normal(0, 30, (500, 3)))
    np.testing.assert_allclose(extreme_NC.sum(axis=1), 1, atol=1e-12)
    assert extreme_NC.min() >= 0.1
    assert extreme_NC.max() <= 0.9


def test_another_prior_by_hand() -> None:
    plain = Calibrator("none", (75, 25), (1.0, 1.0), (0.0, 0.0))
    # p = (0.6, 0.4), prevalence (0.75, 0.25), prior (0.9, 0.1): (0.6 * 1.2, 0.4 * 0.4) = (0.72, 0.16) / 0.88
    probs_NC = plain.probs(np.log([[0.6, 0.4]]), prior=(0.9, 0.1))
    np.testing.assert_allclose(probs_NC, [[0.72 / 0.88, 0.16 / 0.88]], rtol=1e-12)
    np.testing.assert_allclose(plain.probs(np.log([[0.6, 0.4]]), prior=plain.prevalence), [[0.6, 0.4]], rtol=1e-12)
    # Beyond the bounds: held first, so (1/102, 101/102), then weighed; a rare outcome stays rare.
    weighed = np.array([1 / 102 * 0.999 / 0.75, 101 / 102 * 0.001 / 0.25])
    np.testing.assert_allclose(plain.probs([[0.0, 40.0]], prior=(0.999, 0.001))[0], weighed / weighed.sum(), rtol=1e-12)


def test_before_any_rows_it_is_the_softmax_without_bounds() -> None:
    unseen = Calibrator("none", (0, 0, 0), (1.0,) * 3, (0.0,) * 3)
    logits_NC = [[0.0, 1.0, 20.0], [2.0, 0.0, -30.0]]
    assert (unseen.probs(logits_NC) == softmax(logits_NC, axis=1)).all()
    assert not unseen.is_calibrated
    assert Calibrator.from_json(json.loads(json.dumps(unseen.to_json()))) == unseen
    with pytest.raises(CalibrationError, match=r"prevalence must be counted on calibration rows; got none"):
        unseen.probs(logits_NC, prior=(0.2, 0.3, 0.5))


def test_isotonic_curves_are_interpolated_and_normalised() -> None:
    # margin 1.55 lies half way between (0.1, 1/3) and (3, 1): 2/3; class 0 at -1.55: (-1.55 + 3) / 5 = 0.29
    probs_NC = ISOTONIC.probs([[0.0, 1.55]])
    np.testing.assert_allclose(probs_NC, [[0.29 / (0.29 + 2 / 3), (2 / 3) / (0.29 + 2 / 3)]], rtol=1e-12)


def test_isotonic_row_without_any_class_is_even() -> None:
    zero = Knots((-1.0, 1.0), (0.0, 0.0))
    dead = Calibrator("isotonic", (600, 400), (1.0, 1.0), (0.0, 0.0), (zero, zero))
    assert dead.probs([[3.0, 1.0]]).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("calibrator", [BINARY, THREE, ISOTONIC])
def test_one_row_is_the_same_alone_and_among_others(calibrator: Calibrator) -> None:
    logits_NC = np.random.default_rng(0).normal(0, 3, (50, len(calibrator.class_counts)))
    whole_NC = calibrator.probs(logits_NC)
    assert all((calibrator.probs(logits_NC[i : i + 1]) == whole_NC[i]).all() for i in range(50))
    assert calibrator.probs(logits_NC[:0]).shape == (0, len(calibrator.class_counts))
    assert whole_NC.dtype == np.float64


@pytest.mark.parametrize("calibrator", [BINARY, THREE, ISOTONIC])
def test_json_round_trip_is_bit_exact(calibrator: Calibrator) -> None:
    again = Calibrator.from_json(json.loads(json.dumps(calibrator.to_json(), allow_nan=False)))
    assert again == calibrator
    logits_NC = np.random.default_rng(1).normal(0, 2, (20, len(calibrator.class_counts)))
    assert (again.probs(logits_NC) == calibrator.probs(logits_NC)).all()


def test_bad_logits_and_priors_are_refused() -> None:
    with pytest.raises(CalibrationError, match=r"calibrator: logits must be of shape \(N, 2\); got \(1, 3\)"):
        BINARY.probs([[0.0, 1.0, 2.0]])
    with pytest.raises(CalibrationError, match=r"calibrator: logits must be finite; got \[0.0, inf\] in row 0"):
        BINARY.probs([[0.0, np.inf]])
    for prior in ((0.5, 0.4), (1.0, 0.0), (0.2, 0.3, 0.5), (np.nan, 0.5), (-0.5, 1.5)):
        with pytest.raises(ConfigError, match=r"prior must be 2 positive shares that sum to 1"):
            BINARY.probs([[0.0, 1.0]], prior=prior)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "platt"}, "method must be vector or temperature or isotonic or none; got 'platt'"),
        ({"class_counts": [6, 0]}, "class_counts must be 2 or more positive integers"),
        ({"class_counts": [0, 0]}, "class_counts must be 2 or more positive integers"),
        ({"method": "none", "class_counts": [3, 0]}, "class_counts must be 2 or more positive integers"),
        ({"class_counts": [6]}, "class_counts must be 2 or more positive integers"),
        ({"class_counts": [6.0, 2.0]}, "class_counts must be 2 or more positive integers"),
        ({"class_counts": None}, "class_counts must be 2 or more positive integers"),
        ({"slopes": [1.0]}, "slopes must be 2 numbers, one a class"),
        ({"slopes": [1.0, float("nan")]}, "slopes must be finite numbers"),
        ({"slopes": [1.0, -1.0]}, "slopes must be positive"),
        ({"slopes": 1.0}, "slopes must be finite numbers"),
        ({"biases": [0.0, "1"]}, "biases must be finite numbers"),
        ({"biases": [0.0, 1.0, 2.0]}, "biases must be 2 numbers, one a class"),
        ({"knots": [[[0.0], [1.0]]] * 2}, "knots must be there for isotonic alone"),
        ({"method": "isotonic"}, "knots must be there for isotonic alone"),
        ({"method": "isotonic", "knots": [[[0.0], [1.0]]]}, r"knots must be 2 pairs \(margins, probs\)"),
        ({"method": "isotonic", "knots": [[[0.0]], [[0.0]]]}, r"knots must be 2 pairs \(margins, probs\)"),
        ({"method": "isotonic", "knots": [[[0.0], [1.5]]] * 2}, "knots must be rising margins with rising prob"),
        ({"method": "isotonic", "knots": [[[0.0, 1.0], [0.9, 0.1]]] * 2}, "knots must be rising margins"),
        ({"method": "isotonic", "knots": [[[1.0, 0.0], [0.1, 0.9]]] * 2}, "knots must be rising margins"),
        ({"method": "isotonic", "knots": [[[], []]] * 2}, "knots must be rising margins"),
        ({"extra": 1}, "keys must be method, class_counts, slopes, biases, knots"),
    ],
)
def test_altered_files_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        Calibrator.from_json({**BINARY.to_json(), **change})


@pytest.mark.parametrize("key", ["method", "class_counts", "slopes", "biases", "knots"])
def test_a_missing_key_is_refused(key: str) -> None:
    stored = BINARY.to_json()
    del stored[key]
    with pytest.raises(ArtifactError, match="keys must be"):
        Calibrator.from_json(stored)
