"""Figures of results, drawn without a display: as SVG for light and dark pages, and as PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clsgen.artifacts import write_text_atomic
from clsgen.evaluation.thresholds import OperatingPoints, pareto_front


class Palette(NamedTuple):
    """Colors of a figure: text and axes, the first and second line, further lines, and faint lines."""

    ink: str
    first: str
    second: str
    further: tuple[str, ...]
    faint: str


LIGHT = Palette("#1f2933", "#1b4965", "#b3541e", ("#555555", "#888888", "#6a4c93", "#2a7f62", "#9a031e"), "#9aa5b1")
DARK = Palette("#e4e7eb", "#8ecae6", "#f4a261", ("#cbd2d9", "#9aa5b1", "#cdb4db", "#95d5b2", "#ff8fa3"), "#7b8794")


class Drawing(NamedTuple):
    """One figure of a report: what it is called, what it shows in words, and how it is drawn in a palette."""

    name: str
    title: str
    alternative: str
    draw: Callable[[Palette], Figure]


class Rendered(NamedTuple):
    """A drawing as text and bytes."""

    light_svg: str
    dark_svg: str
    png: bytes


def render(drawing: Drawing) -> Rendered:
    """The drawing for a light and a dark page, and as a picture on white."""
    picture = io.BytesIO()
    _styled(drawing.draw, LIGHT).savefig(picture, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return Rendered(_svg(_styled(drawing.draw, LIGHT)), _svg(_styled(drawing.draw, DARK)), picture.getvalue())


def report_drawings(curves: Mapping[str, Mapping[str, Any]], coverage: Mapping[str, Any] | None) -> list[Drawing]:
    """The figures of `evaluation.curves`: discrimination, calibration, net benefit, coverage.

    Args:
        curves: By label; labels without curves are left out.
        coverage: The risk-coverage curve; None: no figure of it.
    """
    drawn = {label: found for label, found in curves.items() if "reason" not in found}
    found = []
    if drawn:
        names = ", ".join(drawn)
        found = [
            Drawing(
                "roc",
                "Discrimination: sensitivity against false alarms",
                f"ROC curve of {names}. The area stands in the table of figures.",
                lambda palette: _roc(drawn, palette),
            ),
            Drawing(
                "pr",
                "Discrimination: precision against recall",
                f"Precision (PPV) against recall (sensitivity) of {names}; the dotted line is the prevalence.",
                lambda palette: _precision(drawn, palette),
            ),
            Drawing(
                "reliability",
                "Calibration",
                f"Observed share against probability of {names}, bins of equal mass and a smooth curve with its band, "
                "above a histogram of the probabilities. The errors stand in the table of figures.",
                lambda palette: _reliability(drawn, palette),
            ),
            Drawing(
                "net_benefit",
                "Net benefit",
                f"Decision curve of {names}: net benefit of deciding by the probability, everybody and nobody, at each "
                "threshold.",
                lambda palette: _net_benefit(drawn, palette),
            ),
        ]
    if coverage is not None:
        alternative = (
            "Share of wrong decisions among the rows that are kept, as the least sure ones are left out first."
        )
        found.append(
            Drawing("coverage", "Risk and coverage", alternative, lambda palette: _coverage(coverage, palette))
        )
    return found


def draw_operating_points(path: Path, points: OperatingPoints, chosen: Mapping[str, tuple[float, float]]) -> None:
    """Write `operating_points_figure` as an SVG, in light colors."""
    write_text_atomic(path, _svg(_styled(lambda palette: operating_points_figure(points, chosen, palette), LIGHT)))


def operating_points_figure(
    points: OperatingPoints, chosen: Mapping[str, tuple[float, float]], palette: Palette
) -> Figure:
    """Sensitivity and PPV against the alerts that they cost, along the Pareto front, with the chosen thresholds.

    Args:
        points: Every cut of the calibration rows.
        chosen: Policy -> threshold, and alerts per 1,000 rows that it gives.
        palette: The colors.
    """
    front = pareto_front(points)
    alerts = 1000 * points.alert_rate_K
    figure, axes = _figure(7.2)
    axes.plot(
        alerts[front], points.sensitivity_K[front], color=palette.first, label="sensitivity", drawstyle="steps-post"
    )
    axes.plot(
        alerts[front], points.ppv_K[front], color=palette.second, label="PPV", marker=".", markersize=3, linewidth=1
    )
    for color, (policy, (threshold, at)) in zip(cycle(palette.further), chosen.items(), strict=False):
        axes.axvline(at, color=color, linestyle="--", linewidth=1, label=f"{policy} (p from {threshold:.3f})")
    axes.set_title("On the calibration rows", loc="left", fontsize="medium")
    axes.set(xlabel="alerts per 1,000 rows", ylabel="share", xlim=(0, 1000), ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _roc(curves: Mapping[str, Mapping[str, Any]], palette: Palette) -> Figure:
    figure, axes = _square()
    for (label, found), (color, line) in zip(curves.items(), _lines(palette), strict=False):
        axes.plot(
            found["roc"]["false_positive_rate"], found["roc"]["sensitivity"], color=color, linestyle=line, label=label
        )
    axes.plot([0, 1], [0, 1], color=palette.faint, linestyle=":", linewidth=1)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC")
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize="small")
    return figure


def _precision(curves: Mapping[str, Mapping[str, Any]], palette: Palette) -> Figure:
    figure, axes = _square()
    for (label, found), (color, line) in zip(curves.items(), _lines(palette), strict=False):
        recall, precision = found["pr"]["recall"], found["pr"]["precision"]
        # each precision is that of the recall gained with it, so the area under the line is the average precision
        axes.plot(
            [0, *recall], [precision[0], *precision], color=color, linestyle=line, label=label, drawstyle="steps-pre"
        )
        axes.axhline(found["num_positive"] / found["num_rows"], color=color, linestyle=":", linewidth=1)
    axes.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)", title="Precision and recall")
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize="small")
    return figure


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure, axes


def _reliability(curves: Mapping[str, Mapping[str, Any]], palette: Palette) -> Figure:
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    upper.plot([0, 1], [0, 1], color=palette.faint, linestyle=":", linewidth=1)
    for (label, found), (color, line) in zip(curves.items(), _lines(palette), strict=False):
        bins = found["bins"]
        if bins:
            ends = [[each["observed"] - (each["low"] or 0) for each in bins if each["low"] is not None]]
            ends.append([each["high"] - each["observed"] for each in bins if each["low"] is not None])
            known = [each for each in bins if each["low"] is not None]
            upper.errorbar(
                [each["prob"] for each in known], [each["observed"] for each in known], yerr=ends, fmt="o", color=color,
                markersize=4, linewidth=1, label=label,
            )  # fmt: skip
        if found["calibration"] is not None:
            curve = found["calibration"]
            upper.plot(curve["prob"], curve["observed"], color=color, linestyle=line)
            upper.fill_between(curve["prob"], curve["low"], curve["high"], color=color, alpha=0.18, linewidth=0)
        counts = found["histogram"]
        lower.step([index / len(counts) for index in range(len(counts) + 1)], [*counts, counts[-1]], where="post",
                   color=color, linestyle=line)  # fmt: skip
    upper.set(ylabel="observed share", xlim=(-0.01, 1.01), ylim=(-0.02, 1.02), title="Reliability")
    lower.set(xlabel="probability", ylabel="rows")
    lower.set_ylim(bottom=0)
    if len(curves) > 1:
        upper.legend(frameon=False, fontsize="small")
    return figure


def _net_benefit(curves: Mapping[str, Mapping[str, Any]], palette: Palette) -> Figure:
    figure, axes = _figure(5.6)
    tops = []
    for (label, found), (color, line) in zip(curves.items(), _lines(palette), strict=False):
        curve = found["net_benefit"]
        name = "" if len(curves) == 1 else f" {label}"
        axes.plot(curve["threshold"], curve["model"], color=color, linestyle=line, label=f"by the probability{name}")
        if "low" in curve:
            axes.fill_between(curve["threshold"], curve["low"], curve["high"], color=color, alpha=0.18, linewidth=0)
        axes.plot(
            curve["threshold"], curve["treat_all"], color=color, linestyle="--", linewidth=1, label=f"everybody{name}"
        )
        tops.append(max(*curve["model"], curve["treat_all"][0]))
    axes.axhline(0, color=palette.faint, linewidth=1, label="nobody")
    top = max(tops)
    axes.set(xlabel="threshold", ylabel="net benefit", xlim=(0, 1), ylim=(-0.25 * top, 1.15 * top))
    axes.set_title("Decision curve")
    axes.legend(frameon=False, fontsize="small")
    return figure


def _coverage(curve: Mapping[str, Any], palette: Palette) -> Figure:
    figure, axes = _figure(5.6)
    coverage, risk = curve["coverage"], curve["risk"]
    axes.plot([0, *coverage], [risk[0], *risk], color=palette.first, drawstyle="steps-pre")
    axes.set(xlabel="share of rows kept, surest first", ylabel="share decided wrongly", xlim=(0, 1.01))
    axes.set_ylim(bottom=0)
    axes.set_title("Risk and coverage")
    return figure


def _figure(width: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, 4.0), layout="constrained")
    return figure, figure.subplots()


def _lines(palette: Palette) -> Iterator[tuple[str, str]]:
    """Colors and styles of as many lines as are drawn; every color in one style before the next style."""
    colors = [palette.first, palette.second, *palette.further]
    return ((color, style) for style in cycle(("-", "--", "-.", ":")) for color in colors)


def _styled(draw: Callable[[Palette], Figure], palette: Palette) -> Figure:
    inked = ("text.color", "xtick.color", "ytick.color", "legend.labelcolor", "axes.labelcolor", "axes.titlecolor")
    style: dict[Any, Any] = dict.fromkeys(inked, palette.ink) | {
        "axes.edgecolor": palette.faint,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titlesize": "medium",
    }
    with matplotlib.rc_context(style):
        return draw(palette)


def _svg(figure: Figure) -> str:
    """The figure's SVG on no ground; the same figure gives the same text."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "clsgen"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return text.getvalue()
