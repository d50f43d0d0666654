"""`clsgen train`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clsgen.cli.console import console, quiet_libraries
from clsgen.cli.dry_run import show_dry_run
from clsgen.cli.training_display import TrainingDisplay
from clsgen.config.load import load_config
from clsgen.errors import RestrictedError
from clsgen.inference.panel import question_folders
from clsgen.pipeline.dry_run import dry_run
from clsgen.pipeline.train import train_run


def train(
    config: Annotated[Path, typer.Argument(help="The run's YAML file (`clsgen init` writes one).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings that replace those of the file: train.learning_rate=1e-4")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last whole checkpoint.")] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Add the adapter into the weights: the model directory is then whole.")
    ] = False,
    is_dry: Annotated[
        bool, typer.Option("--dry-run", help="Show parameters, memory, lengths and three rendered rows; train nothing.")
    ] = False,
    show_text: Annotated[bool, typer.Option("--show-text", help="Print texts of a restricted task.")] = False,
) -> None:
    """Train, calibrate, choose the threshold, save the model directory."""
    quiet_libraries()
    settings = load_config(config, overrides or [])
    if is_dry:
        found = dry_run(settings)
        if found.is_restricted and not show_text:
            console.print("Restricted task: rendered rows are left out (--show-text shows them).")
        show_dry_run(found, with_rows=show_text or not found.is_restricted)
        return
    if show_text:
        raise RestrictedError("train: --show-text goes with --dry-run; training prints no text. Leave it out.")
    run = train_run(settings, is_resumed=resume, is_merged=merge, callbacks=[TrainingDisplay()], notify=console.print)
    folders = question_folders(run)
    models = [f"Model: {folder / 'model'}" for folder in folders.values()] or [f"Model: {run / 'model'}"]
    console.print("\n".join([*models, f"Next:  clsgen eval {run}"]), soft_wrap=True)
