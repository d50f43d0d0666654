"""What is drawn: the area under each line is the figure that it stands for, and no label is left out."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference

from clsgen.evaluation.curves import coverage_curve, curves
from clsgen.evaluation.evaluate import evaluate
from clsgen.evaluation.table import tabulate
from clsgen.evaluation.thresholds import choose_threshold, operating_points
from clsgen.report.figures import LIGHT, operating_points_figure, report_drawings
from clsgen.types import Prediction, TaskSpec
from results import BINARY, SETTINGS, rows_of


def drawn(rows: list[Prediction], spec: TaskSpec) -> dict[str, list]:
    table = tabulate(rows, spec)
    drawings = report_drawings(curves(table, settings=SETTINGS), coverage_curve(table))
    return {drawing.name: drawing.draw(LIGHT).axes[0].lines for drawing in drawings}


def area(line) -> float:
    """Under a line drawn in steps."""
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    return float(np.diff(x) @ {"steps-pre": y[1:], "steps-post": y[:-1]}[line.get_drawstyle()])


@pytest.mark.parametrize("num_rows", [20, 240])
def test_areas_are_the_figures(num_rows):
    rows = rows_of(BINARY, num_rows)[0]
    lines = drawn(rows, BINARY)
    label = [row.label == "yes" for row in rows]
    precision = reference.average_precision_score(label, [row.probs["yes"] for row in rows])
    assert area(lines["pr"][0]) == pytest.approx(precision)
    assert area(lines["coverage"][0]) == pytest.approx(coverage_curve(tabulate(rows, BINARY))["area"])
    metrics = evaluate(rows, BINARY, settings=SETTINGS)["metrics"]
    assert metrics["auprc"]["value"] == pytest.approx(precision)


@pytest.mark.parametrize("num_rows", [20, 240])
def test_lines_of_thresholds_meet_the_sensitivity_that_they_give(num_rows):
    rows = rows_of(BINARY, num_rows)[0]
    prob, label = np.array([row.probs["yes"] for row in rows]), np.array([row.label == "yes" for row in rows])
    points = operating_points(prob, label)
    chosen = {}
    for policy in ("max_f1", "youden", "half", "knee", "ppv=0.4"):
        threshold = choose_threshold(prob, label, policy=policy, role="calibration")
        chosen[policy] = (threshold, 1000 * float((prob >= threshold).mean()))
    sensitivity, precision, *lines = operating_points_figure(points, chosen, LIGHT).axes[0].lines
    assert sensitivity.get_drawstyle() == "steps-post"
    x, y = np.asarray(sensitivity.get_xdata()), np.asarray(sensitivity.get_ydata())
    for (policy, (threshold, alerts)), line in zip(chosen.items(), lines, strict=True):
        assert line.get_label() == f"{policy} (p from {threshold:.3f})"
        assert set(line.get_xdata()) == {alerts}
        height = y[np.flatnonzero(x <= alerts)[-1]]
        assert height == pytest.approx(reference.recall_score(label, prob >= threshold)), policy
    for alerts, share in zip(precision.get_xdata(), precision.get_ydata(), strict=True):
        kept = np.argsort(-prob, kind="stable")[: round(alerts * num_rows / 1000)]
        assert share == pytest.approx(label[kept].mean())


def test_nine_labels_are_drawn_and_look_different():
    spec = TaskSpec("nine", tuple("abcdefghi"), "Which?")
    lines = drawn(rows_of(spec)[0], spec)
    for name in ("roc", "pr", "net_benefit"):
        looks = {(line.get_color(), line.get_linestyle()) for line in lines[name] if len(line.get_xdata()) > 30}
        assert len(looks) >= 9, name
