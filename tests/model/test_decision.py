"""The decision rule: who is on which side, ties, storage."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from clsgen.errors import ArtifactError, ConfigError, DataError
from clsgen.model.calibrator import Calibrator
from clsgen.model.decision import Abstention, DecisionRule, judge
from clsgen.types import Example

BINARY = DecisionRule(("no", "yes"), positive_index=1, threshold=0.3, policy="max_f1")
THREE = DecisionRule(("a", "b", "c"), positive_index=None, threshold=None, policy="argmax")


def test_positive_from_the_threshold_upwards() -> None:
    below = float(np.nextafter(0.3, 0))
    assert BINARY.decide([[0.7, 0.3], [1 - below, below], [0.0, 1.0], [1.0, 0.0]]).tolist() == [1, 0, 1, 0]


def test_positive_may_be_the_first_label() -> None:
    rule = DecisionRule(("yes", "no"), positive_index=0, threshold=0.5, policy="half")
    assert rule.decide([[0.5, 0.5], [0.4, 0.6]]).tolist() == [0, 1]


def test_largest_probability_and_ties_to_the_lower_index() -> None:
    assert THREE.decide([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4], [0.2, 0.4, 0.4]]).tolist() == [1, 0, 1]


@pytest.mark.parametrize("rule", [BINARY, THREE])
def test_no_rows(rule: DecisionRule) -> None:
    decided = rule.decide(np.zeros((0, len(rule.labels))))
    assert decided.shape == (0,)
    assert decided.dtype == np.int64


BAND = replace(BINARY, abstention=Abstention("band=0.125", margin=0.125), threshold=0.25)
SETS = replace(THREE, abstention=Abstention("conformal=0.9", floors=(0.1, 0.3, 0.5)))


@pytest.mark.parametrize("rule", [BINARY, THREE, BAND, SETS])
def test_json_round_trip(rule: DecisionRule) -> None:
    assert DecisionRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule
    assert rule.chosen_on == "calibration"


def test_a_band_holds_both_labels_near_the_threshold() -> None:
    probs = [[0.875, 0.125], [0.8, 0.2], [0.7, 0.3], [0.625, 0.375], [0.1, 0.9]]
    assert BAND.label_sets(probs).tolist() == [[True, False], [True, True], [True, True], [False, True], [False, True]]


def test_a_band_of_three_classes_is_measured_from_the_largest() -> None:
    rule = replace(THREE, abstention=Abstention("band=0.125", margin=0.125))
    assert rule.label_sets([[0.5, 0.375, 0.125], [0.5, 0.4375, 0.0625]]).tolist() == [
        [True, False, False],
        [True, True, False],
    ]


def test_conformal_sets_by_hand_and_the_empty_one() -> None:
    probs = [[0.1, 0.3, 0.6], [0.05, 0.85, 0.1], [0.09, 0.41, 0.5], [0.05, 0.29, 0.49]]
    expected = [[True, True, True], [False, True, False], [False, True, True], [False, False, False]]
    assert SETS.label_sets(probs).tolist() == expected


def test_a_row_is_left_undecided_unless_its_set_is_the_decision_alone() -> None:
    # The threshold decides "yes" from 0.25 on, conformal floors hold "no" alone: the two disagree, so neither is said.
    rule = replace(BAND, abstention=Abstention("conformal=0.9", floors=(0.5, 0.5)))
    logits = np.log([[0.7, 0.3], [0.1, 0.9], [0.9, 0.1]])
    calibrator = Calibrator("vector", (50, 50), (1.0, 1.0), (0.0, 0.0))
    found = judge([Example(str(i), "text") for i in range(3)], logits, calibrator, rule)
    assert [row.label_set for row in found] == [("no",), ("yes",), ("no",)]
    assert [row.decision for row in found] == ["yes", "yes", "no"]
    assert [row.abstained for row in found] == [True, False, False]
    assert judge([Example("a", "text")], logits[:1], calibrator, BINARY)[0].abstained is None


@pytest.mark.parametrize(
    ("margin", "floors", "message"),
    [
        (None, None, "a margin or floors, not both"),
        (0.1, (0.1, 0.1), "a margin or floors, not both"),
        (1.5, None, r"within \[0, 1\]"),
    ],
)
def test_an_abstention_that_contradicts_itself(
    margin: float | None, floors: tuple[float, ...] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Abstention("band=0.1", margin, floors)
    with pytest.raises(ConfigError, match="one a label"):
        replace(THREE, abstention=Abstention("conformal=0.9", floors=(0.1, 0.1)))


@pytest.mark.parametrize("broken", [[], {"policy": "band=0.1"}, {"policy": "b", "margin": "x", "floors": None}])
def test_a_stored_abstention_that_is_broken(broken: object) -> None:
    with pytest.raises(ArtifactError, match="abstention"):
        DecisionRule.from_json(BAND.to_json() | {"abstention": broken})


def test_bad_probabilities_are_refused() -> None:
    with pytest.raises(DataError, match=r"probs must be of shape \(N, 2\); got \(1, 3\)"):
        BINARY.decide([[0.2, 0.3, 0.5]])
    with pytest.raises(DataError, match=r"probs must be of shape \(N, 2\); got \(2,\)"):
        BINARY.decide([0.5, 0.5])
    for bad in (math.nan, 1.5, -0.1):
        with pytest.raises(DataError, match=r"probs must be within \[0, 1\]"):
            BINARY.decide([[0.5, bad]])


@pytest.mark.parametrize(
    ("labels", "positive_index", "threshold", "message"),
    [
        (("a",), 0, 0.5, r"labels must be 2 or more distinct labels"),
        (("a", "a"), 0, 0.5, r"labels must be 2 or more distinct labels"),
        (("a", "b"), None, 0.5, r"positive_index must be 0 or 1 with two classes; got None"),
        (("a", "b"), 2, 0.5, r"positive_index must be 0 or 1 with two classes; got 2"),
        (("a", "b"), 1, None, r"threshold must be within \[0, 1\] with two classes; got None"),
        (("a", "b"), 1, math.nan, r"threshold must be within \[0, 1\] with two classes; got nan"),
        (("a", "b"), 1, 1.1, r"threshold must be within \[0, 1\] with two classes; got 1.1"),
        (("a", "b", "c"), 1, 0.5, r"positive_index, threshold must be None with more than two classes"),
    ],
)
def test_rules_that_contradict_themselves(
    labels: tuple[str, ...], positive_index: int | None, threshold: float | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        DecisionRule(labels, positive_index, threshold, "max_f1")
    stored = {"labels": list(labels), "positive_index": positive_index, "threshold": threshold}
    with pytest.raises(ArtifactError, match=message):
        DecisionRule.from_json({**stored, "policy": "max_f1", "chosen_on": "calibration"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": "no"}, "labels must be a list of strings"),
        ({"labels": ["no", 1]}, "labels must be a list of strings"),
        ({"positive_index": True}, "positive_index must be an integer or null"),
        ({"threshold": "0.5"}, "threshold must be a number or null"),
        ({"policy": None}, "policy must be a string"),
        ({"chosen_on": 3}, "chosen_on must be a string"),
        ({"extra": 1}, "keys must be labels, positive_index, threshold, policy, chosen_on"),
    ],
)
def test_altered_files_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        DecisionRule.from_json({**BINARY.to_json(), **change})


def test_a_missing_key_is_refused() -> None:
    stored = BINARY.to_json()
    del stored["threshold"]
    with pytest.raises(ArtifactError, match="keys must be"):
        DecisionRule.from_json(stored)
