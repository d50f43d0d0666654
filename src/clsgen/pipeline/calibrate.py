"""Fits the calibrator through the serving path, then chooses the threshold; both see calibration rows only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

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
    labels = np.array([spec.labels.index(str(example.label)) for example in labelled])
    logits = Classifier(bundle, batch_tokens=batch_tokens).class_logits(labelled)
    calibrator = fit_calibrator(logits, labels, method=settings.method)
    rule = identity_rule(spec)
    if spec.positive_index is not None:
        probs = calibrator.probs(logits)[:, spec.positive_index]
        threshold = choose_threshold(
            probs, (labels == spec.positive_index).astype(int), policy=settings.threshold, role="calibration"
        )
        rule = replace(rule, threshold=threshold, policy=settings.threshold)
    return replace(bundle, calibrator=calibrator, rule=rule)


def calibrate_run(run: Path, *, settings: CalibrationSettings | None = None, on: str | None = None) -> Bundle:
    """Calibrate the model of a run again, in place.

    Args:
        run: The run directory.
        settings: None: those of the run.
        on: A file of labelled rows from another site, read with the run's column mapping; None: the run's own
            calibration role.

    Raises:
        RestrictedError: A hub data set for a restricted model.
    """
    folder = RunFolder(run)
    config = folder.config()
    classifier = Classifier.from_pretrained(folder.model)
    if on is not None and classifier.spec.is_restricted and not Path(on).exists():
        raise RestrictedError("calibrate: a restricted model takes rows from a local file only. Give a path.")
    rows: Sequence[Example] = folder.rows("calibration")
    if on is not None:
        rows = read_examples(on, config.data.columns, labels=classifier.spec.labels).examples
    bundle = calibrated(
        classifier.bundle,
        rows,
        config.calibrate if settings is None else settings,
        batch_tokens=config.predict.batch_tokens,
    )
    save_calibration(bundle, folder.model)
    return bundle
