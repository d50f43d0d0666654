"""From probabilities to a decision, by a rule that was chosen beforehand and travels with the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clsgen.errors import ArtifactError, ConfigError, DataError
from clsgen.model.calibrator import CALIBRATION, Calibrator
from clsgen.types import Example, Prediction


@dataclass(frozen=True, slots=True)
class Abstention:
    """Which labels of a row can't be excluded; a row whose set is not its decided label alone is left undecided.

    Attributes:
        policy: How it was chosen: `band=0.1`, `conformal=0.9`, `conformal_by_class=0.9`.
        margin: Band: half its width in probability, around the threshold (two classes) or below the largest
            probability (more). None: conformal sets.
        floors: Conformal: the probability from which each label is in the set. None: a band.

    Raises:
        ConfigError: Not exactly one of margin and floors, or a number outside [0, 1].
    """

    policy: str
    margin: float | None = None
    floors: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if (self.margin is None) == (self.floors is None):
            raise ConfigError(_message("abstention", "a margin or floors, not both", (self.margin, self.floors)))
        numbers = (self.margin,) if self.floors is None else self.floors
        if not all(number is not None and 0 <= number <= 1 for number in numbers):
            raise ConfigError(_message("margin and floors", "within [0, 1]", numbers))


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """How calibrated probabilities become one label a row.

    Attributes:
        labels: The classes in the order of the probabilities' columns.
        positive_index: Two classes: the column that the threshold is held against. None with more classes.
        threshold: Two classes: the positive label is decided from this probability upwards, in [0, 1]. None with more
            classes, where the largest probability decides.
        policy: How the threshold was chosen (`max_f1`, `sensitivity=0.9`), or `argmax`.
        chosen_on: Whose rows threshold and abstention were chosen on: `calibration`, the role, or `other`, of another
            file.
        abstention: Which rows are left undecided; None: every row is decided.

    Raises:
        ConfigError: A rule that contradicts itself.
    """

    labels: tuple[str, ...]
    positive_index: int | None
    threshold: float | None
    policy: str
    chosen_on: str = CALIBRATION
    abstention: Abstention | None = None

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ConfigError(_message("labels", "2 or more distinct labels", self.labels))
        is_binary = len(self.labels) == 2
        if is_binary and self.positive_index not in (0, 1):
            raise ConfigError(_message("positive_index", "0 or 1 with two classes", self.positive_index))
        if is_binary and (self.threshold is None or not 0 <= self.threshold <= 1):
            raise ConfigError(_message("threshold", "within [0, 1] with two classes", self.threshold))
        if not is_binary and (self.positive_index, self.threshold) != (None, None):
            given = (self.positive_index, self.threshold)
            raise ConfigError(_message("positive_index, threshold", "None with more than two classes", given))
        floors = None if self.abstention is None else self.abstention.floors
        if floors is not None and len(floors) != len(self.labels):
            raise ConfigError(_message("floors", "one a label", floors))

    def decide(self, probs: ArrayLike) -> NDArray[np.int64]:
        """Decided class of each row.

        Two classes: the positive one iff p >= threshold. More: the largest probability; a tie goes to the lower index.

        Args:
            probs: Calibrated probabilities (N, C); N may be 0.

        Returns:
            Indices into `labels`, (N,) int64.

        Raises:
            DataError: Another number of columns, or a probability that is not within [0, 1].

        Example:
            >>> rule = DecisionRule(("no", "yes"), positive_index=1, threshold=0.25, policy="max_f1")
            >>> rule.decide([[0.8, 0.2], [0.75, 0.25], [0.1, 0.9]]).tolist()
            [0, 1, 1]
        """
        probs_NC = self._checked(probs)
        if self.positive_index is None or self.threshold is None:
            largest_N: NDArray[np.int64] = np.argmax(probs_NC, axis=1)
            return largest_N
        is_positive = probs_NC[:, self.positive_index] >= self.threshold
        return np.where(is_positive, self.positive_index, 1 - self.positive_index)

    def label_sets(self, probs: ArrayLike) -> NDArray[np.bool_]:
        """Which labels can't be excluded, (N, C): conformal sets (which may be empty), or a band's.

        Args:
            probs: Calibrated probabilities (N, C).

        Raises:
            ConfigError: The rule has no abstention.
            DataError: As for `decide`.

        Example:
            >>> band = Abstention("band=0.1", margin=0.1)
            >>> rule = DecisionRule(("no", "yes"), 1, 0.25, "max_f1", abstention=band)
            >>> rule.label_sets([[0.9, 0.1], [0.7, 0.3], [0.1, 0.9]]).tolist()
            [[True, False], [True, True], [False, True]]
        """
        if self.abstention is None:
            raise ConfigError(_message("abstention", "there for sets of labels", None))
        probs_NC = self._checked(probs)
        if self.abstention.floors is not None:
            return np.asarray(probs_NC >= np.array(self.abstention.floors))
        margin = float(self.abstention.margin or 0.0)
        if self.positive_index is None:
            return np.asarray(probs_NC > probs_NC.max(axis=1, keepdims=True) - margin)
        is_near_N = np.abs(probs_NC[:, self.positive_index] - float(self.threshold or 0.0)) < margin
        is_decided_NC = self.decide(probs_NC)[:, None] == np.arange(len(self.labels))
        return np.asarray(is_decided_NC | is_near_N[:, None])

    def _checked(self, probs: ArrayLike) -> NDArray[np.float64]:
        probs_NC = np.asarray(probs, dtype=np.float64)
        if probs_NC.ndim != 2 or probs_NC.shape[1] != len(self.labels):
            raise DataError(_message("probs", f"of shape (N, {len(self.labels)})", probs_NC.shape))
        is_prob = (probs_NC >= 0) & (probs_NC <= 1)
        if not is_prob.all():
            raise DataError(_message("probs", "within [0, 1]", float(probs_NC[~is_prob][0])))
        return probs_NC

    def to_json(self) -> dict[str, Any]:
        """The rule as plain JSON values."""
        return {**asdict(self), "labels": list(self.labels)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DecisionRule:
        """The rule that `to_json` wrote.

        Raises:
            ArtifactError: A missing or unknown key, a value of another type, or a rule that contradicts itself.
        """
        names = [field.name for field in fields(cls)]
        if {*values, "abstention"} != set(names):  # models from before there was abstention have none
            raise ArtifactError(_artifact_message("keys", ", ".join(names), sorted(values)))
        labels, positive_index, threshold = values["labels"], values["positive_index"], values["threshold"]
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise ArtifactError(_artifact_message("labels", "a list of strings", labels))
        if positive_index is not None and type(positive_index) is not int:
            raise ArtifactError(_artifact_message("positive_index", "an integer or null", positive_index))
        if threshold is not None and type(threshold) not in (int, float):
            raise ArtifactError(_artifact_message("threshold", "a number or null", threshold))
        for name in ("policy", "chosen_on"):
            if not isinstance(values[name], str):
                raise ArtifactError(_artifact_message(name, "a string", values[name]))
        try:
            abstention = _abstention_from(values.get("abstention"))
            return cls(tuple(labels), positive_index, threshold, values["policy"], values["chosen_on"], abstention)
        except ConfigError as error:
            raise ArtifactError(str(error)) from error


def _abstention_from(values: Any) -> Abstention | None:
    if values is None:
        return None
    if not isinstance(values, Mapping) or set(values) != {field.name for field in fields(Abstention)}:
        raise ArtifactError(_artifact_message("abstention", "null or an object of policy, margin and floors", values))
    policy, margin, floors = values["policy"], values["margin"], values["floors"]
    numbers = [margin] if floors is None else floors
    is_sound = isinstance(policy, str) and isinstance(numbers, list)
    if not is_sound or not all(type(number) in (int, float) for number in numbers):
        raise ArtifactError(_artifact_message("abstention", "a policy with a margin or a list of floors", values))
    return Abstention(policy, margin, None if floors is None else tuple(floors))


def judge(
    examples: Sequence[Example],
    logits: ArrayLike,
    calibrator: Calibrator,
    rule: DecisionRule,
    *,
    prior: Sequence[float] | None = None,
) -> list[Prediction]:
    """Probability and decision of each row, from its class logits; the model's and a baseline's alike.

    Args:
        examples: Rows, N of them.
        logits: Class logits (N, C), labels in the order of the rule's.
        calibrator: Logits to probabilities.
        rule: Probabilities to a label.
        prior: Prevalence of each label where the rows come from; None: that of the calibration rows.
    """
    logits_NC = np.asarray(logits, dtype=np.float64)
    probs_NC = calibrator.probs(logits_NC, prior=prior)
    decided_N = rule.decide(probs_NC)
    sets = [None] * len(decided_N) if rule.abstention is None else _sets(rule, probs_NC)
    return [
        Prediction(
            id=example.id,
            probs=dict(zip(rule.labels, map(float, probs), strict=True)),
            logits=tuple(map(float, row)),
            decision=rule.labels[index],
            threshold=rule.threshold,
            label_set=label_set,
            abstained=None if label_set is None else label_set != (rule.labels[index],),
            label=example.label,
            question=example.question,
        )
        for example, probs, row, index, label_set in zip(examples, probs_NC, logits_NC, decided_N, sets, strict=True)
    ]


def _sets(rule: DecisionRule, probs_NC: NDArray[np.float64]) -> list[tuple[str, ...] | None]:
    return [
        tuple(label for label, is_in in zip(rule.labels, row, strict=True) if is_in)
        for row in rule.label_sets(probs_NC)
    ]


def _message(name: str, rule: str, value: object) -> str:
    return f"decision rule: {name} must be {rule}; got {value!r}. Choose the threshold again on the calibration rows."


def _artifact_message(name: str, rule: str, value: object) -> str:
    return f"stored decision rule: {name} must be {rule}; got {value!r}. Restore the file, or calibrate again."
