"""`clsgen eval`: what a run's predictions, or anybody's, are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clsgen.cli.display import console, metrics_table, quiet_libraries, row_progress
from clsgen.errors import ConfigError
from clsgen.pipeline.evaluate import evaluate_file, evaluate_run


def evaluate(
    source: Annotated[Path, typer.Argument(help="Run directory, or a jsonl file of predictions.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Predictions file: the folder that metrics.json goes to.")
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="Predictions file, two classes: the positive label; by default the second.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="Where the base weights are, if they moved.")] = None,
) -> None:
    """Run directory: predict the test role and write metrics.json. Predictions file: judge it as it is."""
    quiet_libraries()
    if source.is_dir():
        if output is not None or positive is not None:
            raise ConfigError("eval: --output and --positive go with a file of predictions, not with a run directory.")
        with row_progress("predicting") as on_progress:
            result = evaluate_run(source, base=base, on_progress=on_progress)
        written = [source / "predictions.jsonl", source / "metrics.json"]
    else:
        folder = source.parent if output is None else output
        result = evaluate_file(source, folder, positive=positive)
        written = [folder / "metrics.json"]
    console.print(metrics_table(result))
    for path in written:
        console.print(f"Written: {path}", soft_wrap=True)
