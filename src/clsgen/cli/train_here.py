"""`clsgen train` in this process: what it shows, and how it stops."""

from __future__ import annotations

from clsgen.cli.console import console, quiet_libraries
from clsgen.cli.train import how_to_go_on
from clsgen.cli.training_display import TrainingDisplay
from clsgen.config.run import RunConfig
from clsgen.errors import RunStopped
from clsgen.inference.panel import question_folders
from clsgen.pipeline.train import train_run
from clsgen.training.ranks import end_at_once, is_first
from clsgen.training.stopping import StopOnSignal


def train_here(settings: RunConfig, *, is_resumed: bool, is_merged: bool) -> None:
    """Train, and say where the model is, or how to go on where a signal stopped it."""
    quiet_libraries()
    stop = StopOnSignal()
    try:
        with stop.listening():
            run = train_run(
                settings,
                is_resumed=is_resumed,
                is_merged=is_merged,
                callbacks=[TrainingDisplay(), stop],
                notify=console.print,
            )
    except RunStopped as stopped:
        if is_first():
            console.print(f"{stopped} {how_to_go_on(settings)}", soft_wrap=True)
        end_at_once()
        return
    if is_first():
        folders = question_folders(run)
        models = [f"Model: {folder / 'model'}" for folder in folders.values()] or [f"Model: {run / 'model'}"]
        console.print("\n".join([*models, f"Next:  clsgen eval {run}"]), soft_wrap=True)
