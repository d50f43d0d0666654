"""Baselines on the rows of a run: the same roles, calibrated and thresholded as the model is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

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


def baseline_predictions(
    name: Baseline,
    roles: Mapping[Role, Sequence[Example]],
    groups: Mapping[str, str],
    spec: TaskSpec,
    *,
    seed: int,
) -> list[Prediction]:
    """Fit a baseline on train (validation chooses its settings), calibrate it, predict the test rows.

    Args:
        name: tfidf (which has no seed), cnn (Kim's) or cnn_lcd (the LCD benchmark's).
        roles: Rows by role, labelled.
        groups: Example id -> connected component.
        spec: The task.
        seed: Of the CNN.
    """
    train, validation = roles["train"], roles["validation"]
    if name == "tfidf":
        logits = fit_tfidf(train, validation, spec).logits
    else:
        logits = fit_cnn(train, validation, spec, seed=seed, shape=LCD if name == "cnn_lcd" else KIM).logits
    return judged(logits, roles, groups, spec)


def judged(
    logits: Logits, roles: Mapping[Role, Sequence[Example]], groups: Mapping[str, str], spec: TaskSpec
) -> list[Prediction]:
    """Predictions of the test rows, calibrated and thresholded on the calibration rows as the model is.

    Args:
        logits: Gives (N, C) of rows.
        roles: Rows by role.
        groups: Example id -> connected component.
        spec: The task.
    """
    calibration = [row for row in roles["calibration"] if row.label is not None]
    calibrator, rule = fit_decision(
        logits(calibration), [str(row.label) for row in calibration], spec, CalibrationSettings()
    )
    test = list(roles["test"])
    found = judge(test, logits(test), calibrator, rule)
    return [replace(prediction, group=groups.get(prediction.id)) for prediction in found]
