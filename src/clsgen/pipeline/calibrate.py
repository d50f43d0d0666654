"""Fits the calibrator through the serving path, then chooses the threshold; both see calibration rows only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from clsgen.config.policy import ABSTENTIONS, parse_rule
from clsgen.config.prediction import CalibrationSettings, EvaluateSettings, PredictSettings
from clsgen.data.split import components
from clsgen.errors import CalibrationError, ConfigError
from clsgen.evaluation.conformal import conformal_floors
from clsgen.evaluation.evaluate import Context, evaluate
from clsgen.evaluation.similar_rows import similar_rows
from clsgen.evaluation.thresholds import choose_threshold
from clsgen.inference.predictor import Classifier
from clsgen.model.calibration import fit_calibrator
from clsgen.model.calibrator import CALIBRATION, OTHER, Calibrator
from clsgen.model.checkpoint import Bundle, save_calibration
from clsgen.model.decision import Abstention, DecisionRule, judge
from clsgen.pipeline.calibration_rows import LabelledRows, labelled_rows
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.loading import classifier_of
from clsgen.types import Example, Prediction, TaskSpec

NUM_FOLDS = 5
"""Folds of groups by which a new site's calibrator is judged."""


def identity_calibrator(spec: TaskSpec) -> Calibrator:
    """What a model has before it is calibrated: softmax as it is, no rows seen."""
    zeros, ones = (0.0,) * spec.num_labels, (1.0,) * spec.num_labels
    return Calibrator("none", (0,) * spec.num_labels, ones, zeros, None)


def identity_rule(spec: TaskSpec) -> DecisionRule:
    """What a model has before a threshold is chosen: one half, or the largest probability."""
    if spec.positive_index is None:
        return DecisionRule(spec.labels, None, None, "argmax")
    return DecisionRule(spec.labels, spec.positive_index, 0.5, "half")


def calibrated(
    bundle: Bundle, rows: Sequence[Example], settings: CalibrationSettings, *, predict: PredictSettings
) -> Bundle:
    """The model with calibrator and threshold fitted on labelled rows of natural prevalence.

    Args:
        bundle: The model; its head and adapter are not touched.
        rows: The calibration role.
        settings: Method of the calibrator, policy of the threshold.
        predict: How the model will be asked.

    Raises:
        CalibrationError: No labelled row, a class without one, or too few for the method.
    """
    labelled = [example for example in rows if example.label is not None]
    if not labelled:
        raise CalibrationError("calibrate: rows must carry labels; none does. Give labelled rows.")
    classifier = Classifier(bundle, batch_tokens=predict.batch_tokens, engine=predict.engine)
    logits = classifier.class_logits(labelled)
    groups = [f"g{group}" for group in components(labelled)]
    return _with_decision(bundle, LabelledRows(labelled, logits, groups, {}), settings, source=CALIBRATION)


def _with_decision(bundle: Bundle, rows: LabelledRows, settings: CalibrationSettings, *, source: str) -> Bundle:
    labels = [str(row.label) for row in rows.examples]
    calibrator, rule = fit_decision(rows.logits, labels, bundle.spec, settings)
    indices = [bundle.spec.labels.index(label) for label in labels]
    similar = similar_rows(calibrator.probs(rows.logits), indices, rows.groups, bundle.spec.labels)
    return replace(
        bundle,
        calibrator=replace(calibrator, fitted_on=source),
        rule=replace(rule, chosen_on=source),
        similar=similar,
    )


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
    return Decision(calibrator, fit_rule(calibrator.probs(logits), indices, spec, settings))


def changed(where: str, settings: CalibrationSettings, **changes: str | None) -> CalibrationSettings:
    """The settings with some of them changed; None leaves one as it is.

    Raises:
        ConfigError: A value that the setting does not take.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    try:
        return CalibrationSettings.model_validate(settings.model_dump() | given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        why = first.get("ctx", {}).get("error", f"{first['msg']}; got {given[name]!r}")
        raise ConfigError(f"{where}: {name}: {why}. Choose one of them.") from error


def current_settings(folder: RunFolder) -> CalibrationSettings:
    """The run's settings, with the policies that the model has now: `tune` may have chosen others."""
    settings, file = folder.config().calibrate, folder.model / "decision.json"
    if not file.is_file():
        return settings
    rule = DecisionRule.from_json(json.loads(file.read_text(encoding="utf-8")))
    threshold = settings.threshold if rule.threshold is None else rule.policy
    abstain = "none" if rule.abstention is None else rule.abstention.policy
    return settings.model_copy(update={"threshold": threshold, "abstain": abstain})


def fit_rule(
    probs: NDArray[np.float64], labels: NDArray[np.int64], spec: TaskSpec, settings: CalibrationSettings
) -> DecisionRule:
    """Threshold and abstention of calibration rows.

    Args:
        probs: Calibrated probabilities of the rows, (N, C).
        labels: Their class indices, (N,).
        spec: The task.
        settings: Policies of threshold and abstention.

    Raises:
        CalibrationError: The rows can't carry the policy.
    """
    rule = identity_rule(spec)
    if spec.positive_index is not None:
        is_positive = (labels == spec.positive_index).astype(int)
        positive = probs[:, spec.positive_index]
        threshold = choose_threshold(positive, is_positive, policy=settings.threshold, role="calibration")
        rule = replace(rule, threshold=threshold, policy=settings.threshold)
    return replace(rule, abstention=_abstention(probs, labels, settings.abstain))


def _abstention(probs: NDArray[np.float64], labels: NDArray[np.int64], policy: str) -> Abstention | None:
    asked = parse_rule(policy, ABSTENTIONS)
    if asked.value is None:
        return None
    if asked.name == "band":
        return Abstention(policy, margin=asked.value)
    floors = conformal_floors(
        probs, labels, coverage=asked.value, is_by_class=asked.name == "conformal_by_class", role="calibration"
    )
    return Abstention(policy, floors=tuple(floors.tolist()))


class Recalibrated(NamedTuple):
    """A model calibrated again.

    Attributes:
        bundle: The model.
        before: Figures of the old calibrator on the other site's rows, by name, as metrics.json holds them; None
            without such rows.
        after: The same of calibrators fitted on four fifths of these rows' groups and judged on the last fifth.
        dropped: Reason -> rows that were left out.
    """

    bundle: Bundle
    before: dict[str, dict[str, Any]] | None = None
    after: dict[str, dict[str, Any]] | None = None
    dropped: Mapping[str, int] = MappingProxyType({})


def calibrate_run(
    run: Path, *, settings: CalibrationSettings | None = None, on: str | None = None, base: str | None = None
) -> Recalibrated:
    """Calibrate the model of a run again, in place.

    Args:
        run: The run directory.
        settings: None: those of the run.
        on: A file of labelled rows from another site, read with the run's column mapping, or parquet files of this
            model's predictions of such rows; None: the run's own calibration role.
        base: Where the base weights are, if they moved.

    Raises:
        RestrictedError: A hub data set for a restricted model.
        LeakError: The file holds rows of the test role.
        CalibrationError: Too few rows for the calibrator, or to judge it by five folds of groups.
    """
    folder = RunFolder(run)
    config = folder.config()
    asked = config.calibrate if settings is None else settings
    classifier = classifier_of(folder, base=base)
    old, spec = classifier.bundle, classifier.spec
    rows = labelled_rows(folder, classifier, on)
    bundle = _with_decision(old, rows, asked, source=CALIBRATION if on is None else OTHER)
    found = Recalibrated(bundle, dropped=rows.dropped)
    if on is not None:
        before = grouped(judge(rows.examples, rows.logits, old.calibrator, old.rule), rows.groups)
        found = Recalibrated(
            bundle,
            _figures(before, spec, config.evaluate),
            _figures(_cross_fitted(rows, spec, asked), spec, config.evaluate),
            rows.dropped,
        )
    save_calibration(bundle, folder.model)
    return found


def grouped(predictions: Sequence[Prediction], groups: Sequence[str]) -> list[Prediction]:
    """Predictions with the group of each row."""
    return [replace(row, group=group) for row, group in zip(predictions, groups, strict=True)]


def _cross_fitted(rows: LabelledRows, spec: TaskSpec, settings: CalibrationSettings) -> list[Prediction]:
    """Each row judged by a calibrator that saw no row of its group."""
    examples, logits, groups, _ = rows
    names = sorted(set(groups))
    if len(names) < NUM_FOLDS:
        raise CalibrationError(
            f"calibrate: rows of another site must stand in {NUM_FOLDS} groups or more, so that the new calibrator can "
            f"be judged on rows that it did not see; got {len(names)}. Give more rows."
        )
    fold_of = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % NUM_FOLDS, strict=True))
    fold_N = np.array([fold_of[group] for group in groups])
    labels = [str(row.label) for row in examples]
    found: list[Prediction] = []
    for fold in range(NUM_FOLDS):
        seen, unseen = (np.flatnonzero(is_in).tolist() for is_in in (fold_N != fold, fold_N == fold))
        calibrator, rule = fit_decision(logits[seen], [labels[row] for row in seen], spec, settings)
        judged = judge([examples[row] for row in unseen], logits[unseen], calibrator, rule)
        # Each fold has a threshold of its own; the decisions stay.
        found += grouped([replace(row, threshold=None) for row in judged], [groups[row] for row in unseen])
    return found


def _figures(predictions: Sequence[Prediction], spec: TaskSpec, settings: EvaluateSettings) -> dict[str, Any]:
    found: dict[str, Any] = evaluate(predictions, spec, settings=settings, context=Context("calibration"))["metrics"]
    return found
