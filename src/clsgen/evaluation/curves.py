"""The curves behind the figures: what a report draws of one label against the rest.

ROC, precision and recall, reliability, decision curve, risk and coverage, and what every threshold would decide.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from clsgen.config.prediction import EvaluateSettings
from clsgen.evaluation.arrays import FloatArray, IntArray, ratio, weighted_mean
from clsgen.evaluation.flexible_curve import calibration_curve
from clsgen.evaluation.intervals import Draws, Statistic, cluster_bootstrap, draw_groups
from clsgen.evaluation.metrics import equal_mass_bins
from clsgen.evaluation.net_benefit import decision_curve
from clsgen.evaluation.risk_coverage import area_under_risk, risk_coverage
from clsgen.evaluation.table import Table
from clsgen.evaluation.thresholds import operating_points

MAX_POINTS = 400
"""A curve with more points is thinned to about so many, its ends kept."""
MAX_BAND_ROWS = 50_000
"""With more rows the bands of bins and of net benefit are left out: they would take minutes."""
_GRID = 1000
_HISTOGRAM_BINS = 25


def curves(table: Table, *, settings: EvaluateSettings) -> dict[str, dict[str, Any]]:
    """Curves of the labelled rows, by label: of the positive label with two classes, else of each against the rest.

    Args:
        table: The rows.
        settings: Draws, confidence, number of bins, seed.

    Returns:
        By label: `roc`, `pr`, `bins` (equal mass), `histogram`, `calibration` (the flexible curve with its band; None
        where it is undefined), `net_benefit`, `thresholds` (what each would decide), or {"reason": ...} where a class
        has no row. Lists of numbers, no text of any row.
    """
    labelled = table.take(np.flatnonzero(table.label_N >= 0))
    if labelled.is_binary:
        return {str(table.spec.positive): _of(labelled, settings)}
    return {label: _of(labelled.one_vs_rest(index), settings) for index, label in enumerate(table.spec.labels)}


class Gain(NamedTuple):
    """What deciding at the threshold is worth: net benefit, and how much more it is than the best without a model.

    Attributes:
        model: Net benefit of deciding by the probability.
        default: The larger one of deciding everybody and nobody positive.
        low: Lower end of the interval of model less default, the default chosen anew in each draw; None without draws.
        high: Upper end.
    """

    model: float
    default: float
    low: float | None
    high: float | None


def net_benefit_gain(table: Table, *, settings: EvaluateSettings) -> Gain | None:
    """The gain at the stored threshold.

    Args:
        table: The rows; those without label are left aside.
        settings: Draws, confidence, seed.

    Returns:
        None with more than two classes, a threshold of 0 or 1, or a class without rows.
    """
    known, threshold = table.take(np.flatnonzero(table.label_N >= 0)), table.threshold
    if not known.is_binary or threshold is None or not 0 < threshold < 1 or len(np.unique(known.label_N)) < 2:
        return None
    prob, label = known.prob, known.target(known.label_N)

    def of(weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        curve = decision_curve(prob, label, [threshold], weight=weight)
        return curve.model[..., 0], np.maximum(curve.treat_all[..., 0], 0)

    model, default = of(np.ones(len(prob)))
    num_draws = settings.num_bootstrap if len(prob) <= MAX_BAND_ROWS else 0
    draws = draw_groups(known.group, known.label_N, num_draws=num_draws, seed=settings.seed)
    every = np.arange(len(prob))
    gain = Statistic(lambda weight: np.subtract(*of(weight)), every)
    found = cluster_bootstrap({"gain": gain}, draws, confidence=settings.confidence)["gain"]
    return Gain(float(model), float(default), _or_none(found.low), _or_none(found.high))


def coverage_curve(table: Table) -> dict[str, Any] | None:
    """Risk and coverage where the least sure rows are left to a person first; None without a labelled row.

    Sure is how far p lies from the threshold, on either side as a share of what there is (two classes), or the largest
    probability.
    """
    known = table.take(np.flatnonzero(table.label_N >= 0))
    if not len(known.label_N):
        return None
    sure = known.prob_NC.max(1)
    if known.is_binary:
        threshold = 0.5 if known.threshold is None else known.threshold
        above = ratio(known.prob - threshold, np.full(len(sure), 1 - threshold))
        below = ratio(threshold - known.prob, np.full(len(sure), threshold))
        sure = np.nan_to_num(np.where(known.prob >= threshold, above, below))
    curve = risk_coverage(sure, known.decided_N, known.label_N, num_classes=known.spec.num_labels)
    kept = _thinned(len(curve.coverage))
    return {
        "coverage": curve.coverage[kept].tolist(),
        "risk": curve.risk[kept].tolist(),
        "area": area_under_risk(curve),
    }


def _of(table: Table, settings: EvaluateSettings) -> dict[str, Any]:
    prob, label = table.prob, table.target(table.label_N)
    if not len(label) or label.min() == label.max():
        return {"reason": "a class has no row"}
    points = operating_points(prob, label)
    num_positive = int(label.sum())
    num_negative = len(label) - num_positive
    true, false = points.num_found_K, points.num_decided_K - points.num_found_K
    kept = _thinned(len(true))
    has_bands = len(label) <= MAX_BAND_ROWS
    draws = draw_groups(
        table.group, table.label_N, num_draws=settings.num_bootstrap if has_bands else 1, seed=settings.seed
    )
    return {
        "num_rows": len(label),
        "num_positive": num_positive,
        "roc": {
            "false_positive_rate": (false / num_negative)[kept].tolist(),
            "sensitivity": points.sensitivity_K[kept].tolist(),
        },
        "pr": {
            "recall": points.sensitivity_K[kept][true[kept] + false[kept] > 0].tolist(),
            "precision": points.ppv_K[kept][true[kept] + false[kept] > 0].tolist(),
        },
        "bins": _bins(prob, label, draws, settings) if has_bands else [],
        "histogram": np.histogram(prob, bins=_HISTOGRAM_BINS, range=(0, 1))[0].tolist(),
        "calibration": _calibration(prob, label, table, settings.confidence),
        "net_benefit": _net_benefit(prob, label, draws, settings, has_bands=has_bands),
        "thresholds": _thresholds(prob, label),
    }


def _thinned(num_points: int) -> IntArray:
    """Indices of about MAX_POINTS points, spread evenly, both ends among them."""
    return np.unique(np.linspace(0, num_points - 1, min(num_points, MAX_POINTS)).round().astype(np.int64))


def _bins(prob: FloatArray, label: IntArray, draws: Draws, settings: EvaluateSettings) -> list[dict[str, Any]]:
    """Equal-mass bins, rows of one probability in one bin: mean probability, observed share with interval, rows."""
    parts = equal_mass_bins(prob, settings.num_bins)
    statistics = {str(index): Statistic(_mean_of(label[part]), part) for index, part in enumerate(parts)}
    found = cluster_bootstrap(statistics, draws, confidence=settings.confidence)
    return [
        {
            "prob": float(prob[part].mean()),
            "observed": float(label[part].mean()),
            "low": _or_none(found[str(index)].low),
            "high": _or_none(found[str(index)].high),
            "num_rows": len(part),
        }
        for index, part in enumerate(parts)
    ]


def _mean_of(label: IntArray) -> Any:
    value = label.astype(np.float64)
    return lambda weight: weighted_mean(value, weight)


def _calibration(prob: FloatArray, label: IntArray, table: Table, confidence: float) -> dict[str, list[float]] | None:
    if len(np.unique(prob)) < 3:
        return None
    curve = calibration_curve(prob, label, table.group, confidence=confidence)
    if np.isnan(curve.observed).any():
        return None
    return {name: value.tolist() for name, value in curve._asdict().items()}


def _net_benefit(
    prob: FloatArray, label: IntArray, draws: Draws, settings: EvaluateSettings, *, has_bands: bool
) -> dict[str, Any]:
    cuts = np.linspace(0.01, 0.99, 99)
    curve = decision_curve(prob, label, cuts)
    found: dict[str, Any] = {
        "threshold": cuts.tolist(),
        "model": curve.model.tolist(),
        "treat_all": curve.treat_all.tolist(),
    }
    if has_bands and len(draws.count_RG):
        parts = [decision_curve(prob, label, cuts, weight=draws.weights(chunk)).model for chunk in draws.chunks()]
        tail = (1 - settings.confidence) / 2
        low, high = np.quantile(np.concatenate(parts), [tail, 1 - tail], axis=0)
        found |= {"low": low.tolist(), "high": high.tolist()}
    return found


def _thresholds(prob: FloatArray, label: IntArray) -> dict[str, list[int]]:
    """True and false positives when deciding positive from 0, 0.001, ... 1 upwards; exact, whatever the rows."""
    cuts = np.arange(_GRID + 1) / _GRID
    positive, negative = np.sort(prob[label == 1]), np.sort(prob[label == 0])
    return {
        "true_positives": (len(positive) - np.searchsorted(positive, cuts, side="left")).tolist(),
        "false_positives": (len(negative) - np.searchsorted(negative, cuts, side="left")).tolist(),
    }


def _or_none(number: float) -> float | None:
    return None if np.isnan(number) else number
