"""Figures of results, drawn without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from clsgen.artifacts import write_text_atomic
from clsgen.evaluation.thresholds import OperatingPoints, pareto_front

_INK, _SECOND, _LINES = "#1b4965", "#b3541e", ("#555555", "#888888", "#6a4c93", "#2a7f62", "#9a031e")


def draw_operating_points(path: Path, points: OperatingPoints, chosen: Mapping[str, float]) -> None:
    """Draw sensitivity and PPV against the alerts that they cost, along the Pareto front, with the chosen thresholds.

    Args:
        path: The SVG to write.
        points: Every cut of the calibration rows.
        chosen: Policy -> threshold.
    """
    front = pareto_front(points)
    alerts = 1000 * points.alert_rate_K
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(alerts[front], points.sensitivity_K[front], color=_INK, label="sensitivity", drawstyle="steps-post")
    axes.plot(alerts[front], points.ppv_K[front], color=_SECOND, label="PPV", marker=".", markersize=3, linewidth=1)
    for color, (policy, threshold) in zip(_LINES, chosen.items(), strict=False):
        cut = int((points.threshold_K > threshold).sum())
        at = float(alerts[min(cut, len(alerts) - 1)])
        axes.axvline(at, color=color, linestyle="--", linewidth=1, label=f"{policy} (p from {threshold:.3f})")
    axes.set_title("On the calibration rows", loc="left", fontsize="medium")
    axes.set(xlabel="alerts per 1,000 rows", ylabel="share", xlim=(0, 1000), ylim=(0, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
    write_text_atomic(path, _svg(figure))


def _svg(figure: Figure) -> str:
    """The figure's SVG; the same figure gives the same text."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "clsgen"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
