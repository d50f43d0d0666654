"""Chooses the threshold of a trained model again, and shows what every policy would give, on calibration rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsgen.artifacts import write_json_atomic
from clsgen.config.policy import THRESHOLDS
from clsgen.config.prediction import CalibrationSettings
from clsgen.errors import ConfigError
from clsgen.evaluation.arrays import FloatArray, weighted_mean
from clsgen.evaluation.decisions import confusion
from clsgen.evaluation.intervals import Draws, Statistic, cluster_bootstrap, draw_groups
from clsgen.evaluation.thresholds import OperatingPoints, choose_threshold, operating_points, pareto_front
from clsgen.model.calibrator import CALIBRATION, OTHER
from clsgen.model.checkpoint import save_calibration
from clsgen.model.decision import DecisionRule
from clsgen.pipeline.calibrate import changed, fit_rule
from clsgen.pipeline.calibration_rows import digest_of, labelled_rows
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.loading import classifier_of
from clsgen.report.figures import draw_operating_points
from clsgen.types import TaskSpec

FIGURES = ("sensitivity", "specificity", "ppv", "alerts_per_1000", "f1")


class Tuned(NamedTuple):
    """What `clsgen tune` shows.

    Attributes:
        rule: The decision rule that the model has now.
        is_stored: Whether it was chosen by this call.
        result: What tune.json holds.
        files: The files written.
    """

    rule: DecisionRule
    is_stored: bool
    result: dict[str, Any]
    files: tuple[Path, ...]


def tune_run(
    run: Path,
    *,
    policy: str | None = None,
    abstain: str | None = None,
    on: str | None = None,
    base: str | None = None,
) -> Tuned:
    """Compare policies on calibration rows, and store the chosen threshold in the model.

    Args:
        run: The run directory.
        policy: What `calibrate.threshold` takes; None: the threshold stays.
        abstain: What `calibrate.abstain` takes; None: it stays.
        on: A file of labelled rows that the model was neither trained nor tested on; None: the calibration role.
        base: Where the base weights are, if they moved.

    Raises:
        ConfigError: More than two classes, or an unknown policy.
        CalibrationError: The rows can't carry the policy.
        LeakError: The file holds rows of the test role.
    """
    folder = RunFolder(run)
    config = folder.config()
    classifier = classifier_of(folder, base=base)
    spec, bundle = classifier.spec, classifier.bundle
    positive = _positive_index(spec)
    changes = {"threshold": policy, "abstain": abstain}
    settings = changed("tune", CalibrationSettings(threshold="half"), **changes)
    rows, logits, own_groups, dropped = labelled_rows(folder, classifier, on)
    probs = bundle.calibrator.probs(logits)
    label = np.array([spec.labels.index(str(row.label)) for row in rows])
    is_positive = (label == positive).astype(np.int64)
    prob = probs[:, positive]
    fitted = replace(fit_rule(probs, label, spec, settings), chosen_on=CALIBRATION if on is None else OTHER)
    rule = _with(bundle.rule, fitted, changes)
    groups_of = folder.groups()
    groups = own_groups if on else [groups_of[row.id] for row in rows]
    draws = draw_groups(groups, is_positive, num_draws=config.evaluate.num_bootstrap, seed=config.evaluate.seed)
    points = operating_points(prob, is_positive)
    policies = _compared(rule, _Rows(prob, is_positive, draws, config.evaluate.confidence))
    result: dict[str, Any] = {
        "positive": spec.positive,
        "num_rows": len(rows),
        "num_positive": points.num_positive,
        "num_groups": len(set(groups)),
        "rows": "calibration role" if on is None else digest_of(on),
        "dropped": dict(dropped),
        "chosen": rule.to_json(),
        "policies": policies,
        "front": _front(points),
    }
    files = (run / "tune.json", run / "tune.svg")
    write_json_atomic(files[0], result)
    drawn = {entry["policy"]: (entry["threshold"], entry["alerts_per_1000"]["estimate"]) for entry in policies}
    draw_operating_points(files[1], points, drawn)
    if rule != bundle.rule:
        save_calibration(replace(bundle, rule=rule), folder.model)
    return Tuned(rule, rule != bundle.rule, result, files)


def _positive_index(spec: TaskSpec) -> int:
    if spec.positive_index is None:
        raise ConfigError(
            f"tune: the task must have two labels; got {list(spec.labels)}. With more, the largest probability "
            "decides, and clsgen calibrate RUN --abstain says which rows are left undecided."
        )
    return spec.positive_index


def _with(kept: DecisionRule, fitted: DecisionRule, changes: Mapping[str, str | None]) -> DecisionRule:
    """The model's rule, with what was asked for from the new one."""
    if changes["threshold"] is not None:
        return fitted if changes["abstain"] is not None else replace(fitted, abstention=kept.abstention)
    if changes["abstain"] is not None:
        return replace(kept, abstention=fitted.abstention, chosen_on=fitted.chosen_on)
    return kept


class _Rows(NamedTuple):
    """The calibration rows, as figures are computed of them."""

    prob: FloatArray
    is_positive: NDArray[np.int64]
    draws: Draws
    confidence: float


def _compared(rule: DecisionRule, rows: _Rows) -> list[dict[str, Any]]:
    """The rule that the model has, then the policies without a number, each with its figures and their intervals."""
    found = [_entry(rule.policy, float(rule.threshold or 0.0), rows)]
    for name, limits in THRESHOLDS.items():
        if limits is None and name != rule.policy:
            threshold = choose_threshold(rows.prob, rows.is_positive, policy=name, role="calibration")
            found.append(_entry(name, threshold, rows))
    return found


def _entry(policy: str, threshold: float, rows: _Rows) -> dict[str, Any]:
    """What deciding from this threshold gives on the rows: value, low and high of each figure, null where undefined."""
    decided = (rows.prob >= threshold).astype(np.int64)
    every = np.arange(len(decided))

    def of(name: str) -> Statistic:
        if name == "alerts_per_1000":
            return Statistic(lambda weight: 1000 * weighted_mean(decided.astype(np.float64), weight), every)
        return Statistic(lambda weight: getattr(confusion(decided, rows.is_positive, weight=weight), name), every)

    found = cluster_bootstrap({name: of(name) for name in FIGURES}, rows.draws, confidence=rows.confidence)
    return {"policy": policy, "threshold": threshold} | {
        name: {end: _or_null(getattr(each, end)) for end in ("estimate", "low", "high")} for name, each in found.items()
    }


def _front(points: OperatingPoints) -> list[dict[str, float]]:
    """The cuts that no other beats in sensitivity, PPV and alert rate at once."""
    columns = {
        "threshold": points.threshold_K,
        "sensitivity": points.sensitivity_K,
        "ppv": points.ppv_K,
        "alerts_per_1000": 1000 * points.alert_rate_K,
    }
    return [{name: float(column[k]) for name, column in columns.items()} for k in pareto_front(points)]


def _or_null(number: float) -> float | None:
    return None if np.isnan(number) else float(number)
