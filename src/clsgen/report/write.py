"""Writes a report: the page, its numbers, its figures."""

from __future__ import annotations

from pathlib import Path

from clsgen.artifacts import make_folder, write_bytes_atomic, write_json_atomic, write_text_atomic
from clsgen.config.prediction import EvaluateSettings
from clsgen.report.cases import cases
from clsgen.report.content import content
from clsgen.report.figures import render, report_drawings
from clsgen.report.page import page
from clsgen.report.results import Results


def write_report(folder: Path, results: Results, *, settings: EvaluateSettings, num_each: int) -> list[Path]:
    """Write report.html, report.json and figures/ into a folder.

    Args:
        folder: The folder; it exists.
        results: The run.
        settings: Draws and bins of the curves.
        num_each: Most rows to read of each kind.

    Returns:
        The files written, the page first. Files of restricted data are readable by their owner alone.
    """
    found = cases(results, num_each)
    report = content(results, found, settings=settings)
    rendered = [(drawing, render(drawing)) for drawing in report_drawings(report["curves"], report["coverage"])]
    is_private = results.spec.is_restricted
    written = [folder / "report.html", folder / "report.json"]
    write_text_atomic(written[0], page(report, results, found, rendered, num_each=num_each), is_private=is_private)
    write_json_atomic(written[1], report, is_private=is_private)
    figures = folder / "figures"
    make_folder(figures)
    for drawing, images in rendered:
        write_text_atomic(figures / f"{drawing.name}.svg", images.light_svg)
        write_bytes_atomic(figures / f"{drawing.name}.png", images.png)
        written += [figures / f"{drawing.name}.svg", figures / f"{drawing.name}.png"]
    return written
