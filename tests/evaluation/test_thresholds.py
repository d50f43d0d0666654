from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from clsgen.errors import CalibrationError, ConfigError, DataError
from clsgen.evaluation.thresholds import choose_threshold, operating_points, pareto_front

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
    with pytest.raises(CalibrationError, match="must hold both classes; got 2 positive of 2"):
        choose_threshold([0.1, 0.9], [1, 1], policy="max_f1", role="calibration")
    with pytest.raises(CalibrationError, match="must hold both classes; got 0 positive of 0"):
        choose_threshold([], [], policy="max_f1", role="calibration")
    with pytest.raises(DataError, match="choose_threshold: prob must be from 0 to 1; got nan"):
        choose_threshold([float("nan"), 0.2], [0, 1], policy="max_f1", role="calibration")
    with pytest.raises(ConfigError, match=r"prob must be of shape \(N,\), two classes"):
        choose_threshold([[0.1, 0.9]], [1], policy="max_f1", role="calibration")


# ---- the other policies, against a search over every cut by scikit-learn ----


def every_cut(prob, label):
    """(threshold, sensitivity, specificity, PPV or None, rows decided positive) of every cut, highest first."""
    found = []
    for value in [*sorted(set(prob), reverse=True), None]:
        decided = np.zeros(len(prob), dtype=int) if value is None else (prob >= value).astype(int)
        tn, fp, fn, tp = reference.confusion_matrix(label, decided, labels=[0, 1]).ravel()
        found.append((decided.sum(), tp / (tp + fn), tn / (tn + fp), tp / (tp + fp) if tp + fp else None, fn, fp))
    return sorted(found)


POLICIES = {
    "youden": lambda cuts: max(cuts, key=lambda c: (round(c[1] + c[2], 12), -c[0])),
    "sensitivity=0.7": lambda cuts: next(c for c in cuts if c[1] >= 0.7),
    "specificity=0.6": lambda cuts: max((c for c in cuts if c[2] >= 0.6), key=lambda c: (c[1], -c[0])),
    "ppv=0.2": lambda cuts: max((c for c in cuts if c[3] is not None and c[3] >= 0.2), key=lambda c: (c[1], -c[0])),
    "cost=3": lambda cuts: min(cuts, key=lambda c: (3 * c[4] + c[5], c[0])),
    "alerts=400": lambda cuts: max((c for c in cuts if c[0] <= 0.4 * cuts[-1][0]), key=lambda c: (c[1], -c[0])),
}


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=60, deadline=None)
@given(drawn=rows)
def test_each_policy_takes_the_best_of_all_cuts(policy, drawn):
    prob, label = np.array([p for p, _ in drawn]) / 21, np.array([y for _, y in drawn])
    if len(set(label)) < 2:
        return
    cuts = every_cut(prob, label)
    try:
        best = POLICIES[policy](cuts)
    except ValueError:  # max of nothing: no cut keeps it
        with pytest.raises(CalibrationError, match="Ask for less"):
            choose_threshold(prob, label, policy=policy, role="calibration")
        return
    threshold = choose_threshold(prob, label, policy=policy, role="calibration")
    assert 0 <= threshold <= 1
    assert (prob >= threshold).sum() == best[0]


@settings(max_examples=60, deadline=None)
@given(rows)
def test_the_front_holds_the_cuts_that_none_beats_and_the_knee_lies_on_it(drawn):
    prob, label = np.array([p for p, _ in drawn]) / 21, np.array([y for _, y in drawn])
    if len(set(label)) < 2:
        return
    cuts = [cut for cut in every_cut(prob, label) if cut[1] > 0]

    def beats(one, other):
        pairs = [(one[1], other[1]), (one[3], other[3]), (-one[0], -other[0])]
        return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)

    expected = {int(cut[0]) for cut in cuts if not any(beats(other, cut) for other in cuts)}
    points = operating_points(prob, label)
    front = pareto_front(points)
    assert set(points.num_decided_K[front].tolist()) == expected
    knee = choose_threshold(prob, label, policy="knee", role="calibration")
    assert int((prob >= knee).sum()) in expected


def test_knee_by_hand():
    # Front: (sensitivity, PPV, alert rate) = (1/2, 1, 1/4), (1, 2/3, 3/4); scaled distances sqrt(1) and sqrt(2).
    chosen = choose_threshold([0.9, 0.7, 0.6, 0.1], [1, 0, 1, 0], policy="knee", role="calibration")
    assert chosen == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("sensitivity", "sensitivity=NUMBER"),
        ("half=0.5", "half"),
        ("sensitivity=1.5", "above 0 and at most 1"),
        ("cost=nan", "above 0; got"),
        ("f2", "max_f1, half"),
    ],
)
def test_a_wrong_policy_is_named(policy, message):
    with pytest.raises(ConfigError, match=message):
        choose_threshold([0.1, 0.9], [0, 1], policy=policy, role="calibration")
