"""A fitted calibrator: softmax(a * z + b), or a monotone curve a class, and what it says of the rows behind it.

Shapes: N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, softmax

from clsgen.errors import ArtifactError, CalibrationError, ConfigError

Method = Literal["vector", "temperature", "isotonic", "none"]

Floats = NDArray[np.float64]

CALIBRATION, OTHER = "calibration", "other"
"""Whose rows a calibrator or threshold comes from: the role of the run's own, or rows of another file."""


class Knots(NamedTuple):
    """A monotone step curve: margin (log-odds of the class against the rest) -> probability, linear in between."""

    margins: tuple[float, ...]
    probs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Calibrator:
    """Logits on the natural prior in, calibrated probabilities out.

    Attributes:
        method: What was fitted; `none` leaves softmax(z) as it is.
        class_counts: Calibration rows a class, each above 0; all 0 before any rows were seen (`none` alone).
        slopes: a, a positive number a class; equal for `temperature` and for two classes; 1 for `isotonic` and `none`.
        biases: b, a number a class, the first one 0.
        knots: `isotonic` alone: a curve a class, applied to the margins of the logits; None otherwise.
        fitted_on: Whose rows it was fitted on: `calibration`, the role of the run's own, or `other`, of another file.
    """

    method: Method
    class_counts: tuple[int, ...]
    slopes: tuple[float, ...]
    biases: tuple[float, ...]
    knots: tuple[Knots, ...] | None = None
    fitted_on: str = CALIBRATION

    @property
    def num_rows(self) -> int:
        """Calibration rows, n."""
        return sum(self.class_counts)

    @property
    def prevalence(self) -> tuple[float, ...]:
        """Share of each class in the calibration rows: the prior that the probabilities stand on.

        Raises:
            CalibrationError: No rows were seen.
        """
        if self.num_rows == 0:
            raise CalibrationError(
                "calibrator: prevalence must be counted on calibration rows; got none. Calibrate the model first."
            )
        return tuple(count / self.num_rows for count in self.class_counts)

    @property
    def is_calibrated(self) -> bool:
        """Whether a calibrator was fitted at all."""
        return self.method != "none"

    @property
    def is_foldable(self) -> bool:
        """Whether slopes and biases say it all, so that they fold into the head's rows."""
        return self.knots is None

    def probs(self, logits: ArrayLike, *, prior: Sequence[float] | None = None) -> Floats:
        """Calibrated probabilities, held within [1/(n+2), 1 - 1/(n+2)] where no prior is given.

        The bounds are those of Laplace's rule of succession: n rows can't vouch for more certainty. They hold for
        `none` too, unless no rows were seen (then softmax(z) as it is). Rows beyond a bound tie. A prior is knowledge
        of another kind: it weighs the probabilities after they were held, and may take them beyond.

        Args:
            logits: Raw class logits (N, C); N may be 0.
            prior: Share of each class where the model is used, positive, in sum 1; each p_c is weighed by
                prior_c / prevalence_c (Saerens et al. 2002). None: as in the calibration rows.

        Returns:
            Probabilities (N, C) float64; rows sum to 1.

        Raises:
            CalibrationError: Logits that are not finite or not of shape (N, C); a prior before any rows were seen.
            ConfigError: A prior that is none.

        Example:
            >>> calibrator = Calibrator("vector", (75, 25), slopes=(2.0, 2.0), biases=(0.0, 0.0))
            >>> calibrator.probs([[0.0, 0.0]]).tolist()
            [[0.5, 0.5]]
            >>> calibrator.probs([[0.0, 0.0]], prior=(0.5, 0.5)).tolist()  # odds 1 * (0.5 / 0.25) / (0.5 / 0.75) = 3
            [[0.25, 0.75]]
        """
        logits_NC = checked_logits("calibrator", logits, num_classes=len(self.class_counts))
        if self.knots is None:
            probs_NC = softmax(logits_NC * np.array(self.slopes) + np.array(self.biases), axis=1)
        else:
            probs_NC = _curve_probs(logits_NC, self.knots)
        if self.num_rows:
            probs_NC = _held_above(probs_NC, 1 / (self.num_rows + 2))
        if prior is not None:
            probs_NC = probs_NC * _checked_prior(prior, len(self.class_counts)) / np.array(self.prevalence)
            probs_NC = probs_NC / probs_NC.sum(axis=1, keepdims=True)
        return np.asarray(probs_NC)

    def to_json(self) -> dict[str, Any]:
        """The calibrator as plain JSON values; floats survive bit for bit."""
        knots = None if self.knots is None else [[list(curve.margins), list(curve.probs)] for curve in self.knots]
        return {
            "method": self.method,
            "class_counts": list(self.class_counts),
            "slopes": list(self.slopes),
            "biases": list(self.biases),
            "knots": knots,
            "fitted_on": self.fitted_on,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Calibrator:
        """The calibrator that `to_json` wrote.

        Raises:
            ArtifactError: A missing or unknown key, a list of another length, a number that is none.
        """
        names = ("method", "class_counts", "slopes", "biases", "knots", "fitted_on")
        if {*values, "fitted_on"} != set(names):  # earlier models were calibrated on their own rows
            raise _artifact_error("keys", ", ".join(names), sorted(values))
        fitted_on = values.get("fitted_on", CALIBRATION)
        if fitted_on not in (CALIBRATION, OTHER):
            raise _artifact_error("fitted_on", f"{CALIBRATION} or {OTHER}", fitted_on)
        method, counts, knots = values["method"], values["class_counts"], values["knots"]
        if method not in get_args(Method):
            raise _artifact_error("method", " or ".join(get_args(Method)), method)
        is_counts = isinstance(counts, list) and len(counts) >= 2 and all(type(count) is int for count in counts)
        is_unseen = method == "none" and is_counts and not any(counts)
        if not is_unseen and not (is_counts and min(counts) > 0):
            raise _artifact_error("class_counts", "2 or more positive integers (all 0 with none alone)", counts)
        slopes = _stored_floats("slopes", values["slopes"], len(counts))
        biases = _stored_floats("biases", values["biases"], len(counts))
        if min(slopes) <= 0:
            raise _artifact_error("slopes", "positive", values["slopes"])
        if (method == "isotonic") != (knots is not None):
            raise _artifact_error("knots", "there for isotonic alone", knots)
        curves = None if knots is None else _stored_knots(knots, len(counts))
        return cls(method, tuple(counts), slopes, biases, curves, fitted_on)


def class_margins(logits_NC: Floats) -> Floats:
    """Log-odds of each class against the rest (N, C); for two classes z1 - z0 and its negative."""
    columns = [
        logits_NC[:, index] - logsumexp(np.delete(logits_NC, index, axis=1), axis=1)
        for index in range(logits_NC.shape[1])
    ]
    return np.stack(columns, axis=1)


def _curve_probs(logits_NC: Floats, knots: tuple[Knots, ...]) -> Floats:
    """Each class by its own curve, then divided by their sum; 1e-12 keeps a row of zeros from dividing by 0."""
    margins_NC = class_margins(logits_NC)
    columns = [np.interp(margins_NC[:, index], *curve) for index, curve in enumerate(knots)]
    probs_NC = np.maximum(np.stack(columns, axis=1), 1e-12)
    return cast(Floats, probs_NC / probs_NC.sum(axis=1, keepdims=True))


def _held_above(probs_NC: Floats, least: float) -> Floats:
    """Rows that sum to 1 with no class under `least`: those under it are raised, the others share what is left.

    Example:
        >>> _held_above(np.array([[0.0, 0.25, 0.75]]), 0.1).tolist()  # 0.9 shared 1 : 3
        [[0.1, 0.225, 0.675]]
    """
    probs_NC = probs_NC.copy()
    assert probs_NC.shape[1] * least <= 1, "each class has a calibration row, so n + 2 > C"
    is_raised_NC = np.zeros(probs_NC.shape, dtype=bool)
    for _ in range(probs_NC.shape[1] - 1):  # sharing less may push another class under
        is_under_NC = (probs_NC < least) & ~is_raised_NC
        if not is_under_NC.any():
            break
        is_raised_NC |= is_under_NC
        touched = is_under_NC.any(axis=1)
        free_NC = np.where(is_raised_NC, 0.0, probs_NC)[touched]
        budget_N1 = 1 - least * is_raised_NC[touched].sum(axis=1, keepdims=True)
        shared_NC = free_NC / free_NC.sum(axis=1, keepdims=True) * budget_N1
        probs_NC[touched] = np.where(is_raised_NC[touched], least, shared_NC)
    return probs_NC


def checked_logits(where: str, logits: ArrayLike, *, num_classes: int | None = None) -> Floats:
    """Logits as (N, C) float64; CalibrationError unless finite, of this shape and with 2 or more classes."""
    logits_NC = np.asarray(logits, dtype=np.float64)
    is_shaped = logits_NC.ndim == 2 and logits_NC.shape[1] >= 2
    if not is_shaped or num_classes not in (None, logits_NC.shape[1]):
        wanted = "C >= 2" if num_classes is None else num_classes
        raise CalibrationError(
            f"{where}: logits must be of shape (N, {wanted}); got {logits_NC.shape!r}. "
            "Give the raw class logits, a row an example, in the order of the labels."
        )
    is_finite_N = np.isfinite(logits_NC).all(axis=1)
    if not is_finite_N.all():
        row = int(np.argmin(is_finite_N))
        raise CalibrationError(
            f"{where}: logits must be finite; got {logits_NC[row].tolist()!r} in row {row}. "
            "The model's weights or its forward are broken; look there."
        )
    return logits_NC


def _checked_prior(prior: Sequence[float], num_classes: int) -> Floats:
    prior_C = np.asarray(prior, dtype=np.float64)
    is_valid = prior_C.shape == (num_classes,) and bool((prior_C > 0).all()) and abs(prior_C.sum() - 1) <= 1e-6
    if not is_valid:
        raise ConfigError(
            f"predict: prior must be {num_classes} positive shares that sum to 1; got {prior!r}. "
            "Give the share of each label where the model is used, in the order of the labels."
        )
    return prior_C


def _stored_floats(name: str, values: object, length: int | None = None) -> tuple[float, ...]:
    is_numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    if not is_numbers or not np.isfinite(cast(list[float], values)).all():
        raise _artifact_error(name, "finite numbers", values)
    numbers = tuple(float(value) for value in cast(list[float], values))
    if length is not None and len(numbers) != length:
        raise _artifact_error(name, f"{length} numbers, one a class", values)
    return numbers


def _stored_knots(values: object, num_classes: int) -> tuple[Knots, ...]:
    is_shaped = isinstance(values, list) and len(values) == num_classes
    if not is_shaped or not all(isinstance(pair, list) and len(pair) == 2 for pair in cast(list[object], values)):
        raise _artifact_error("knots", f"{num_classes} pairs (margins, probs)", values)
    curves = tuple(
        Knots(_stored_floats("knots", margins), _stored_floats("knots", probs))
        for margins, probs in cast(list[list[object]], values)
    )
    for margins, probs in curves:
        is_rising = bool((np.diff(margins) > 0).all() and (np.diff(probs) >= 0).all())
        if not margins or len(margins) != len(probs) or not is_rising or min(probs) < 0 or max(probs) > 1:
            raise _artifact_error("knots", "rising margins with rising probabilities in [0, 1]", [margins, probs])
    return curves


def _artifact_error(name: str, rule: str, value: object) -> ArtifactError:
    return ArtifactError(
        f"stored calibrator: {name} must be {rule}; got {value!r}. Restore the file, or calibrate again."
    )
