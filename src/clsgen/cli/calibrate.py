"""`clsgen calibrate`: calibrator and threshold again, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clsgen.cli.display import console, quiet_libraries
from clsgen.config.prediction import CalibrationSettings
from clsgen.errors import ConfigError
from clsgen.pipeline.calibrate import calibrate_run
from clsgen.pipeline.folder import RunFolder


def calibrate(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    on: Annotated[
        str | None, typer.Option(help="Labelled rows of another site; by default the run's calibration role.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="auto, vector, temperature, isotonic or none.")] = None,
    threshold: Annotated[str | None, typer.Option(help="max_f1 or half.")] = None,
    base: Annotated[str | None, typer.Option(help="Where the base weights are, if they moved.")] = None,
) -> None:
    """Fit calibrator and threshold of a model again, through the serving path; its weights stay."""
    quiet_libraries()
    given: dict[str, Any] = {"method": method, "threshold": threshold}
    values = RunFolder(run).config().calibrate.model_dump() | {k: v for k, v in given.items() if v is not None}
    try:
        settings = CalibrationSettings(**values)
    except ValueError as error:
        raise ConfigError(
            f"calibrate: --method must be auto, vector, temperature, isotonic or none and --threshold max_f1 or half; "
            f"got {method!r} and {threshold!r}. Choose one of them."
        ) from error
    bundle = calibrate_run(run, settings=settings, on=on, base=base)
    rule = bundle.rule
    decided = "largest probability" if rule.threshold is None else f"threshold {rule.threshold:.4f} ({rule.policy})"
    console.print(f"{bundle.calibrator.method} calibrator on {bundle.calibrator.num_rows} rows; {decided}.")
    console.print(f"Written to {run / 'model'}. Metrics are of the old calibrator until: clsgen eval {run}")
