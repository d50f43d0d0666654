"""Baselines on the rows of a run: the same roles, calibrated and thresholded as the model is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsgen.baselines.cnn import KIM, LCD, fit_cnn
from clsgen.baselines.tfidf import fit_tfidf
from clsgen.config.prediction import CalibrationSettings
from clsgen.model.decision import judge
from clsgen.pipeline.calibrate import fit_decision
from clsgen.types import Example, Prediction, Role, TaskSpec

Baseline = Literal["tfidf", "cnn", "cnn_lcd"]
Logits = Callable[[Sequence[Example]], NDArray[np.float64]]


class Judged(NamedTuple):
    """What baselines are made and judged on.

    roles: Rows by role. groups: Example id -> connected component. settings: Calibrator and threshold, as the model's.
    """

    roles: Mapping[Role, Sequence[Example]]
    groups: Mapping[str, str]
    spec: TaskSpec
    settings: CalibrationSettings


def baseline_predictions(name: Baseline, on: Judged, *, seed: int) -> list[Prediction]:
    """Fit a baseline on train (validation chooses its settings), calibrate it, predict the test rows.

    Args:
        name: tfidf (which has no seed), cnn (Kim's) or cnn_lcd (the LCD benchmark's).
        on: The rows; those without a label are left out.
        seed: Of the CNN.
    """
    train, validation = ([row for row in on.roles[role] if row.label is not None] for role in ("train", "validation"))
    if name == "tfidf":
        logits = fit_tfidf(train, validation, on.spec).logits
    else:
        logits = fit_cnn(train, validation, on.spec, seed=seed, shape=LCD if name == "cnn_lcd" else KIM).logits
    return judged(logits, on)


def judged(logits: Logits, on: Judged) -> list[Prediction]:
    """Predictions of the test rows, calibrated and thresholded on the calibration rows as the model is.

    Args:
        logits: Gives (N, C) of rows.
        on: The rows.
    """
    calibration = [row for row in on.roles["calibration"] if row.label is not None]
    labels = [str(row.label) for row in calibration]
    calibrator, rule = fit_decision(logits(calibration), labels, on.spec, on.settings)
    test = list(on.roles["test"])
    found = judge(test, logits(test), calibrator, rule)
    return [replace(prediction, group=on.groups.get(prediction.id)) for prediction in found]
