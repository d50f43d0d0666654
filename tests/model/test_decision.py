"""The decision rule: who is on which side, ties, storage."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from clsgen.errors import ArtifactError, ConfigError, DataError
from clsgen.model.decision import DecisionRule

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


@pytest.mark.parametrize("rule", [BINARY, THREE])
def test_json_round_trip(rule: DecisionRule) -> None:
    assert DecisionRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule
    assert rule.chosen_on == "calibration"


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
