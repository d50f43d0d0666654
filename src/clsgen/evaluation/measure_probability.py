"""The measures of the probability and of the decision: which are taken of a task, and what each means."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from clsgen.config.prediction import EvaluateSettings
from clsgen.errors import DataError
from clsgen.evaluation.arrays import FloatArray, IntArray, weighted_mean
from clsgen.evaluation.auroc_interval import AurocInterval, auroc_interval
from clsgen.evaluation.brier_parts import brier_parts
from clsgen.evaluation.calibration_line import calibration_in_the_large, calibration_line
from clsgen.evaluation.decisions import accuracy, confusion, f1
from clsgen.evaluation.flexible_curve import calibration_errors
from clsgen.evaluation.intervals import Statistic
from clsgen.evaluation.measures import Measure
from clsgen.evaluation.metrics import auprc, auroc, brier, ece, ece_reference, ece_top_label, ece_width, log_loss
from clsgen.evaluation.smooth_ece import smooth_ece
from clsgen.evaluation.table import Table

Found = TypeVar("Found")

_BINARY = {
    "auroc": "Area under the ROC curve; ties count one half. Higher is better, 0.5 is chance.",
    "auprc": "Average precision, sum of (R_k - R_(k-1)) P_k without interpolation. Higher is better, chance is the "
    "prevalence.",
    "brier": "Mean of (p - y)^2 of the positive label, 0 to 1. Lower is better.",
    "log_loss": "Mean of -ln p of the observed label, p clipped to [2.2e-16, 1 - 2.2e-16]. Lower is better.",
    "ece": "Positive-class expected calibration error over {bins} equal-mass bins, absolute gaps weighted by mass. "
    "Lower is better; read it beside ece_reference. Draws have a larger ECE than the rows: its interval can lie above.",
    "ece_reference": "95th percentile of the ECE of the same probabilities were they perfect: labels redrawn row by "
    "row from p, same n, same {bins} bins. An ECE below it is no evidence of miscalibration.",
    "ece_width": "The same over {bins} bins of equal width. Lower is better.",
    "ece_top_label": "Calibration error of the largest probability against whether its label is right, over {bins} "
    "equal-mass bins. Lower is better.",
    "smooth_ece": "Smooth ECE (Blasiok and Nakkiran 2024): the scale at which the smoothed residuals y - p add up to "
    "the scale itself; no bins. Lower is better.",
    "calibration_in_the_large": "What must be added to each logit of p for their mean to be the share of positives. 0 "
    "is the best; above it probabilities are too low.",
    "calibration_slope": "Slope of the logistic regression of the label on logit p. 1 is the best; below it "
    "probabilities are too extreme.",
    "calibration_intercept": "Intercept of the same regression. 0 is the best beside a slope of 1.",
    "ici": "Integrated calibration index: mean of |p - observed share| along the flexible calibration curve (Austin "
    "and Steyerberg 2019). Lower is better.",
    "e50": "Median of the same distances.",
    "e90": "90th percentile of the same distances.",
    "brier_miscalibration": "What isotonic recalibration on these rows would take off the Brier score (CORP, "
    "Dimitriadis et al. 2021). Lower is better; above 0 for perfect probabilities too.",
    "brier_discrimination": "What the recalibrated probabilities take off the Brier score of the prevalence. Higher is "
    "better.",
    "brier_uncertainty": "Brier score of the prevalence; brier = miscalibration - discrimination + uncertainty.",
    "accuracy": "Share of rows whose decision at the stored threshold is the label.",
    "f1": "F1 of the positive label at the stored threshold, 2 TP / (2 TP + FP + FN). Moves with the prevalence.",
    "sensitivity": "Share of rows of the positive label decided positive at the stored threshold.",
    "specificity": "Share of rows of the other label decided negative at the stored threshold.",
    "ppv": "Share of rows decided positive at the stored threshold that are.",
    "npv": "Share of rows decided negative at the stored threshold that are.",
    "mcc": "Matthews' correlation of decision and label at the stored threshold, -1 to 1.",
}
_MULTICLASS = {
    "auroc": "Mean over the classes of the one-vs-rest area under the ROC curve (macro); ties count one half. Higher "
    "is better, 0.5 is chance.",
    "auprc": "Mean over the classes of the one-vs-rest average precision (macro). Higher is better.",
    "brier": "Mean over rows of the sum over classes of (p_c - y_c)^2, 0 to 2. Lower is better.",
    "log_loss": _BINARY["log_loss"],
    "ece": "Mean over the classes of the one-vs-rest expected calibration error over {bins} equal-mass bins (macro). "
    "Lower is better; read it beside ece_reference. Draws have a larger ECE than the rows: its interval can lie above.",
    "ece_reference": _BINARY["ece_reference"],
    "ece_width": "The same over {bins} bins of equal width. Lower is better.",
    "ece_top_label": _BINARY["ece_top_label"],
    "smooth_ece": "Mean over the classes of the one-vs-rest smooth ECE (Blasiok and Nakkiran 2024; macro). Lower is "
    "better.",
    "accuracy": "Share of rows whose decision is the label.",
    "f1": "Mean over the classes of F1 at the most probable label (macro).",
}
_MAX_CURVE_ROWS = 5 * 10**7
_LONG = "no interval: rows times draws above 50,000,000, and the curve is fitted anew in every draw"
_TWO_CLASSES_ONLY = (
    "calibration_in_the_large",
    "calibration_slope",
    "calibration_intercept",
    "ici",
    "e50",
    "e90",
    "brier_miscalibration",
    "brier_discrimination",
    "brier_uncertainty",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "mcc",
)
_RISK = {
    "risk_error": "Mean of |p - true risk|; the true risk is known because the notes are generated. Lower is better.",
    "excess_brier": "Brier score of p less that of the true risk on the same labels; 0 is the best there is on "
    "average.",
}


def probability_measures(table: Table, settings: EvaluateSettings) -> dict[str, Measure]:
    """Gives the measures of the labelled rows, in the order of the table that shows them."""
    rows = np.flatnonzero(table.label_N >= 0)
    if table.is_binary:  # in ascending order the metrics need not sort
        rows = rows[np.argsort(table.prob[rows], kind="stable")]
    prob, label = table.prob[rows], table.target(table.label_N[rows])
    definitions = {name: text.format(bins=settings.num_bins) for name, text in _definitions(table).items()}
    reasons = _reasons(table, rows)
    computed = _scores(prob, label, settings.num_bins) | _decided(table, rows, label)
    if table.is_binary:
        computed |= _line(prob, label)
    measures = {
        name: Measure(definitions[name], Statistic(compute, rows), reason=reasons.get(name, reasons[""]))
        for name, compute in computed.items()
    }
    if table.is_binary and len(rows):
        found = auroc_interval(prob, label, table.group[rows], confidence=settings.confidence)
        measures["auroc"] = replace(measures["auroc"], extra={"analytic": _or_null(found)})
    if table.is_binary:
        for name, pair in _fractions(table.target(table.decided_N[rows]), label).items():
            measures[name] = replace(measures[name], extra=pair)
        measures |= _parts(prob, label, definitions, reasons[""])
        if len(rows) * settings.num_bootstrap > _MAX_CURVE_ROWS:
            for name in ("ici", "e50", "e90"):
                value = float(computed[name](np.ones(len(rows))))
                once = Measure(definitions[name], reason=reasons.get(name, reasons[""]), point=value, no_interval=_LONG)
                measures[name] = replace(once, num_rows=len(rows))
    measures["ece_reference"] = Measure(
        definitions["ece_reference"],
        reason=reasons[""],
        point=ece_reference(prob, num_bins=settings.num_bins, seed=settings.seed),
        no_interval="no interval: a percentile of simulated labels",
        num_rows=len(rows),
    )
    for name in definitions.keys() - measures.keys():
        measures[name] = Measure(definitions[name], reason="defined for two classes")
    return {name: measures[name] for name in definitions}


def _or_null(found: AurocInterval) -> dict[str, float | str | None]:
    """The analytic interval as JSON."""
    values = {name: getattr(found, name) for name in ("standard_error", "low", "high")}
    return {name: None if math.isnan(value) else value for name, value in values.items()} | {"method": found.method}


def risk_measures(table: Table, true_risk: Mapping[str, float]) -> dict[str, Measure]:
    """Gives the distance to the true risk, of all rows, and the excess Brier score, of the labelled ones.

    Raises:
        DataError: More than two classes, a row without a true risk, or one that is no probability.
    """
    if not table.is_binary:
        raise DataError(f"evaluate: true_risk must be of a task with two labels; got {table.spec.num_labels}.")
    missing = [row.id for row in table.predictions if row.id not in true_risk]
    if missing:
        raise DataError(f"evaluate: true_risk must name every row; got none for {missing[0]!r} ({len(missing)} rows).")
    risk = np.array([true_risk[row.id] for row in table.predictions], dtype=np.float64)
    if not ((risk >= 0) & (risk <= 1)).all():
        raise DataError(f"evaluate: true_risk must be from 0 to 1; got {float(risk.min())!r} to {float(risk.max())!r}.")
    gap = np.abs(table.prob - risk)
    rows = np.flatnonzero(table.label_N >= 0)
    label = table.target(table.label_N[rows])
    excess = (table.prob[rows] - label) ** 2 - (risk[rows] - label) ** 2
    return {
        "risk_error": Measure(_RISK["risk_error"], _mean(gap, np.arange(len(gap)))),
        "excess_brier": Measure(_RISK["excess_brier"], _mean(excess, rows), reason="no row has a label"),
    }


def _definitions(table: Table) -> dict[str, str]:
    if table.is_binary:
        return _BINARY
    return _MULTICLASS | {name: _BINARY[name] for name in _TWO_CLASSES_ONLY}


def _mean(value: FloatArray, rows: IntArray) -> Statistic:
    return Statistic(lambda weight: weighted_mean(value, weight), rows)


def _scores(prob: FloatArray, label: IntArray, num_bins: int) -> dict[str, Callable[[FloatArray], FloatArray]]:
    return {
        "auroc": lambda weight: auroc(prob, label, weight=weight),
        "auprc": lambda weight: auprc(prob, label, weight=weight),
        "brier": lambda weight: brier(prob, label, weight=weight),
        "log_loss": lambda weight: log_loss(prob, label, weight=weight),
        "ece": lambda weight: ece(prob, label, num_bins=num_bins, weight=weight),
        "ece_width": lambda weight: ece_width(prob, label, num_bins=num_bins, weight=weight),
        "ece_top_label": lambda weight: ece_top_label(prob, label, num_bins=num_bins, weight=weight),
        "smooth_ece": lambda weight: smooth_ece(prob, label, weight=weight),
    }


def _once(compute: Callable[[FloatArray], Found]) -> Callable[[FloatArray], Found]:
    """Keeps the answer for the weights that were asked for last, as several figures are read off one table or fit."""
    kept = threading.local()  # draws are computed in several threads

    def answer(weight: FloatArray) -> Found:
        if getattr(kept, "weight", None) is not weight:
            kept.weight, kept.found = weight, compute(weight)
        found: Found = kept.found
        return found

    return answer


def _line(prob: FloatArray, label: IntArray) -> dict[str, Callable[[FloatArray], FloatArray]]:
    line = _once(lambda weight: calibration_line(prob, label, weight=weight))
    errors = _once(lambda weight: calibration_errors(prob, label, weight=weight))
    return {
        "calibration_in_the_large": lambda weight: calibration_in_the_large(prob, label, weight=weight),
        "calibration_slope": lambda weight: line(weight).slope,
        "calibration_intercept": lambda weight: line(weight).intercept,
        "ici": lambda weight: errors(weight).ici,
        "e50": lambda weight: errors(weight).e50,
        "e90": lambda weight: errors(weight).e90,
    }


def _parts(prob: FloatArray, label: IntArray, definitions: Mapping[str, str], reason: str) -> dict[str, Measure]:
    no_interval = "no interval: a draw holds rows twice, which isotonic recalibration takes for evidence"
    return {
        f"brier_{name}": Measure(
            definitions[f"brier_{name}"], reason=reason, point=value, no_interval=no_interval, num_rows=len(label)
        )
        for name, value in brier_parts(prob, label)._asdict().items()
    }


def _decided(table: Table, rows: IntArray, label: IntArray) -> dict[str, Callable[[FloatArray], FloatArray]]:
    num_labels = table.spec.num_labels
    decided = table.target(table.decided_N[rows])
    if not table.is_binary:
        likeliest = table.argmax_N[rows]
        return {
            "accuracy": lambda weight: accuracy(decided, label, num_classes=num_labels, weight=weight),
            "f1": lambda weight: f1(likeliest, label, num_classes=num_labels, weight=weight),
        }
    counts = _once(lambda weight: confusion(decided, label, weight=weight))
    return {
        "accuracy": lambda weight: counts(weight).accuracy,
        "f1": lambda weight: counts(weight).f1,
        "sensitivity": lambda weight: counts(weight).sensitivity,
        "specificity": lambda weight: counts(weight).specificity,
        "ppv": lambda weight: counts(weight).ppv,
        "npv": lambda weight: counts(weight).npv,
        "mcc": lambda weight: counts(weight).mcc,
    }


def _fractions(decided_N: IntArray, label_N: IntArray) -> dict[str, dict[str, int]]:
    """The counts that each share of the 2 x 2 table is made of: a PPV of 1 may be that of two rows."""
    tp, fp, fn, tn = (int(cell) for cell in confusion(decided_N, label_N))
    pairs = {
        "accuracy": (tp + tn, tp + fp + fn + tn),
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
    }
    return {name: {"numerator": numerator, "denominator": of} for name, (numerator, of) in pairs.items()}


def _reasons(table: Table, rows: IntArray) -> dict[str, str]:
    """Why each measure is null, if it is; "" is for those not named."""
    if not len(rows):
        return {"": "no row has a label"}
    absent = [label for c, label in enumerate(table.spec.labels) if not (table.label_N[rows] == c).any()]
    lacks_class = f"no row is labelled {', '.join(repr(label) for label in absent)}"
    reasons = dict.fromkeys(("", "auroc", "auprc", "f1", "sensitivity", "specificity"), lacks_class)
    reasons["calibration_in_the_large"] = lacks_class
    separated = lacks_class if absent else "no finite slope: one probability throughout, or classes that it separates"
    reasons |= dict.fromkeys(("calibration_slope", "calibration_intercept"), separated)
    one_value = lacks_class if absent else "no curve: one probability throughout"
    reasons |= dict.fromkeys(("ici", "e50", "e90"), one_value)
    if table.is_binary:
        positive, negative = table.positive_index, 1 - table.positive_index
        reasons["ppv"] = f"no row is decided {table.spec.labels[positive]!r}"
        reasons["npv"] = f"no row is decided {table.spec.labels[negative]!r}"
        reasons["mcc"] = "all rows have one label, or one decision"
    return reasons
