"""Fits the calibrator through the serving path, then chooses the threshold; both see calibration rows only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsgen.config.prediction import CalibrationSettings
from clsgen.data.source import read_examples
from clsgen.errors import CalibrationError, RestrictedError
from clsgen.evaluation.thresholds import choose_threshold
from clsgen.inference.predictor import Classifier
from clsgen.model.calibration import fit_calibrator
from clsgen.model.calibrator import Calibrator
from clsgen.model.checkpoint import Bundle, save_calibration
from clsgen.model.decision import DecisionRule
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.predict import columns_of
from clsgen.types import Example, TaskSpec


def identity_calibrator(spec: TaskSpec) -> Calibrator:
    """What a model has before it is calibrated: softmax as it is, no rows seen."""
    zeros, ones = (0.0,) * spec.num_labels, (1.0,) * spec.num_labels
    return Calibrator("none", (0,) * spec.num_labels, ones, zeros, None)


def identity_rule(spec: TaskSpec) -> DecisionRule:
    """What a model has before a threshold is chosen: one half, or the largest probability."""
    if spec.positive_index is None:
        return DecisionRule(spec.labels, None, None, "argmax")
    return DecisionRule(spec.labels, spec.positive_index, 0.5, "half")


def calibrated(bundle: Bundle, rows: Sequence[Example], settings: CalibrationSettings, *, batch_tokens: int) -> Bundle:
    """The model with calibrator and threshold fitted on labelled rows of natural prevalence.

    Args:
        bundle: The model; its head and adapter are not touched.
        rows: The calibration role.
        settings: Method of the calibrator, policy of the threshold.
        batch_tokens: Prompt tokens a forward.

    Raises:
        CalibrationError: No labelled row, a class without one, or too few for the method.
    """
    spec = bundle.spec
    labelled = [example for example in rows if example.label is not None]
    if not labelled:
        raise CalibrationError("calibrate: rows must carry labels; none does. Give labelled rows.")
    logits = Classifier(bundle, batch_tokens=batch_tokens).class_logits(labelled)
    calibrator, rule = fit_decision(logits, [str(example.label) for example in labelled], spec, settings)
    return replace(bundle, calibrator=calibrator, rule=rule)


class Decision(NamedTuple):
    """calibrator: logits to probabilities. rule: probabilities to a label."""

    calibrator: Calibrator
    rule: DecisionRule


def fit_decision(
    logits: NDArray[np.float64], labels: Sequence[str], spec: TaskSpec, settings: CalibrationSettings
) -> Decision:
    """Calibrator and threshold of calibration rows; a baseline's are fitted by the same code as the model's.

    Args:
        logits: Class logits of the rows, (N, C).
        labels: Their labels, (N,).
        spec: The task.
        settings: Method of the calibrator, policy of the threshold.
    """
    indices = np.array([spec.labels.index(label) for label in labels])
    calibrator = fit_calibrator(logits, indices, method=settings.method)
    rule = identity_rule(spec)
    if spec.positive_index is not None:
        probs = calibrator.probs(logits)[:, spec.positive_index]
        is_positive = (indices == spec.positive_index).astype(int)
        threshold = choose_threshold(probs, is_positive, policy=settings.threshold, role="calibration")
        rule = replace(rule, threshold=threshold, policy=settings.threshold)
    return Decision(calibrator, rule)


def calibrate_run(
    run: Path, *, settings: CalibrationSettings | None = None, on: str | None = None, base: str | None = None
) -> Bundle:
    """Calibrate the model of a run again, in place.

    Args:
        run: The run directory.
        settings: None: those of the run.
        on: A file of labelled rows from another site, read with the run's column mapping; None: the run's own
            calibration role.
        base: Where the base weights are, if they moved.

    Raises:
        RestrictedError: A hub data set for a restricted model.
    """
    folder = RunFolder(run)
    config = folder.config()
    classifier = Classifier.from_pretrained(folder.model, base=base)
    if on is not None and classifier.spec.is_restricted and not Path(on).exists():
        raise RestrictedError("calibrate: a restricted model takes rows from a local file only. Give a path.")
    rows: Sequence[Example] = folder.rows("calibration")
    if on is not None:
        rows = read_examples(on, columns_of(folder.model), labels=classifier.spec.labels).examples
    bundle = calibrated(
        classifier.bundle,
        rows,
        config.calibrate if settings is None else settings,
        batch_tokens=config.predict.batch_tokens,
    )
    save_calibration(bundle, folder.model)
    return bundle
