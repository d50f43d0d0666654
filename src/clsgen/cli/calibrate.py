"""`clsgen calibrate`: calibrator and threshold again, without training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from clsgen.cli.console import console, figure_text, print_dropped, quiet_libraries
from clsgen.pipeline.folder import RunFolder

_FEW = 20
"""Rows of the rarest label from which on a calibrator is more than a guess."""
_SHOWN = (
    "log_loss",
    "brier",
    "ece",
    "ece_reference",
    "calibration_in_the_large",
    "calibration_slope",
    "auroc",
    "accuracy",
    "abstained_share",
    "set_coverage",
)


def calibrate(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    on: Annotated[
        str | None,
        typer.Option(
            help="Labelled rows of another site, or parquet predictions of them; by default the calibration role."
        ),
    ] = None,
    method: Annotated[str | None, typer.Option(help="auto, vector, temperature, isotonic or none.")] = None,
    threshold: Annotated[str | None, typer.Option(help="A policy, as for clsgen tune.")] = None,
    abstain: Annotated[str | None, typer.Option(help="A policy of abstention, as for clsgen tune.")] = None,
    base: Annotated[str | None, typer.Option(help="Where the base weights are, if they moved.")] = None,
) -> None:
    """Fit calibrator and threshold of a model again, through the serving path; its weights stay."""
    from clsgen.pipeline.calibrate import calibrate_run, changed, current_settings

    quiet_libraries()
    settings = changed(
        "calibrate", current_settings(RunFolder(run)), method=method, threshold=threshold, abstain=abstain
    )
    found = calibrate_run(run, settings=settings, on=on, base=base)
    calibrator, rule = found.bundle.calibrator, found.bundle.rule
    if found.before is not None and found.after is not None:
        console.print(_before_and_after(found.before, found.after))
    decided = "largest probability" if rule.threshold is None else f"threshold {rule.threshold:.4f} ({rule.policy})"
    print_dropped(found.dropped)
    rarest = min(calibrator.class_counts)
    if on is not None and rarest < _FEW:
        console.print(
            f"Caution: the rarest label has {rarest} rows. The new calibrator is little more than a guess, and so is "
            "its column of figures.",
            soft_wrap=True,
        )
    console.print(f"{calibrator.method} calibrator on {calibrator.num_rows} rows; {decided}.")
    console.print(f"Written to {run / 'model'}. Metrics are of the old calibrator until: clsgen eval {run}")


def _before_and_after(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    """The old calibrator on the new rows, beside new ones that did not see the rows they are judged on."""
    table = Table(title="Before: the old calibrator. After: new ones, on rows they did not see.", box=SIMPLE_HEAD)
    table.add_column("figure", no_wrap=True)
    for name in ("before", "after"):
        table.add_column(name, justify="right")
    for name in _SHOWN:
        cells = [figure_text(part[name]) if name in part else "" for part in (before, after)]
        if any(cells):
            table.add_row(name, *cells)
    return table
