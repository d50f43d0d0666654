from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from clsgen.errors import CalibrationError, ConfigError, DataError
from clsgen.evaluation.thresholds import choose_threshold

rows = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1)), min_size=2, max_size=40)


@settings(max_examples=40, deadline=None)
@given(rows)
def test_no_other_cut_has_a_larger_f1(drawn):
    prob, label = np.array([p for p, _ in drawn]) / 20, np.array([y for _, y in drawn])
    if len(set(label)) < 2:
        return
    threshold = choose_threshold(prob, label, policy="max_f1", role="calibration")
    best = reference.f1_score(label, prob >= threshold)
    others = {value: reference.f1_score(label, prob >= value) for value in set(prob)}
    assert best == pytest.approx(max(others.values()))
    # Of equal ones, the cut that decides the fewest rows positive.
    fewest = min((prob >= value).sum() for value, figure in others.items() if figure > best - 1e-12)
    assert (prob >= threshold).sum() == fewest


def test_threshold_lies_halfway_to_the_next_probability():
    assert choose_threshold([0.75, 0.25], [1, 0], policy="max_f1", role="calibration") == 0.5


def test_equal_f1_takes_the_highest_cut():
    # {0.9} has F1 2 * 1 / (1 + 2) = 2/3, and so has the cut that takes all four rows, 2 * 2 / (4 + 2).
    chosen = choose_threshold([0.9, 0.6, 0.5, 0.4], [1, 0, 0, 1], policy="max_f1", role="calibration")
    assert chosen == pytest.approx(0.75)


def test_all_rows_positive_takes_the_smallest_probability_itself():
    chosen = choose_threshold([0.3, 0.3, 0.2], [1, 0, 1], policy="max_f1", role="calibration")
    assert chosen == 0.2


def test_neighbouring_floats_are_told_apart():
    low = 0.3
    high = float(np.nextafter(low, 1))
    chosen = choose_threshold([high, low], [1, 0], policy="max_f1", role="calibration")
    assert low < chosen <= high


def test_half_is_half_whatever_the_rows():
    assert choose_threshold([0.1, 0.2], [1, 1], policy="half", role="calibration") == 0.5
    assert choose_threshold([], [], policy="half", role="calibration") == 0.5


@pytest.mark.parametrize("role", ["train", "validation", "test"])
@pytest.mark.parametrize("policy", ["max_f1", "half"])
def test_other_roles_are_refused(role, policy):
    with pytest.raises(ConfigError, match=f"thresholds are chosen on calibration rows; got {role}"):
        choose_threshold([0.1, 0.9], [0, 1], policy=policy, role=role)


def test_unusable_rows_are_named():
    with pytest.raises(CalibrationError, match="must hold both classes for max_f1; got 2 positive of 2"):
        choose_threshold([0.1, 0.9], [1, 1], policy="max_f1", role="calibration")
    with pytest.raises(CalibrationError, match="must hold both classes for max_f1; got 0 positive of 0"):
        choose_threshold([], [], policy="max_f1", role="calibration")
    with pytest.raises(DataError, match="choose_threshold: prob must be from 0 to 1; got nan"):
        choose_threshold([float("nan"), 0.2], [0, 1], policy="max_f1", role="calibration")
    with pytest.raises(ConfigError, match=r"prob must be of shape \(N,\), two classes"):
        choose_threshold([[0.1, 0.9]], [1], policy="max_f1", role="calibration")
    with pytest.raises(ConfigError, match="policy must be 'max_f1' or 'half'; got 'youden'"):
        choose_threshold([0.1, 0.9], [0, 1], policy="youden", role="calibration")  # type: ignore[arg-type]
