"""What is drawn: the area under each line is the figure that it stands for, and no label is left out."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference

from clsgen.evaluation.curves import coverage_curve, curves
from clsgen.evaluation.evaluate import evaluate
from clsgen.evaluation.table import tabulate
from clsgen.report.figures import LIGHT, report_drawings
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


def test_nine_labels_are_drawn_and_look_different():
    spec = TaskSpec("nine", tuple("abcdefghi"), "Which?")
    lines = drawn(rows_of(spec)[0], spec)
    for name in ("roc", "pr", "net_benefit"):
        looks = {(line.get_color(), line.get_linestyle()) for line in lines[name] if len(line.get_xdata()) > 30}
        assert len(looks) >= 9, name
