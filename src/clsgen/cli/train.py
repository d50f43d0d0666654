"""`clsgen train`: the main job, in one process or several.

What trains is imported where it trains: a process that only starts others does without.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clsgen.config.load import load_config
from clsgen.config.run import RunConfig
from clsgen.errors import ConfigError, RestrictedError
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.launch import launch, ranks_command


class Launcher(StrEnum):
    """What starts several processes."""

    accelerate = "accelerate"


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
    launcher: Annotated[
        Launcher | None,
        typer.Option("--launch", help="Train in several processes of this machine, one a GPU (or cores of a CPU)."),
    ] = None,
    num_processes: Annotated[int, typer.Option("--num-processes", min=1, help="With --launch: how many.")] = 1,
    fsdp: Annotated[
        bool, typer.Option("--fsdp", help="Spread weights and optimizer state over the processes: train.fsdp=true.")
    ] = False,
) -> None:
    """Train, calibrate, choose the threshold, save the model directory."""
    settings = load_config(config, [*(overrides or []), *(["train.fsdp=true"] if fsdp else [])])
    if is_dry:
        from clsgen.cli.dry_run import run_dry

        run_dry(settings, show_text=show_text)
        return
    if show_text:
        raise RestrictedError("train: --show-text goes with --dry-run; training prints no text. Leave it out.")
    if launcher is not None:
        raise typer.Exit(_launched(num_processes, settings))
    if num_processes != 1:
        raise ConfigError("train: --num-processes goes with --launch accelerate. Add it, or leave both out.")
    from clsgen.cli.train_here import train_here

    train_here(settings, is_resumed=resume, is_merged=merge)


def _launched(num_processes: int, settings: RunConfig) -> int:
    """Train in several processes; the exit status."""

    def tell(rank: int, name: str) -> None:
        hint = ", as the system does where memory is short" if name == "SIGKILL" else ""
        killed = f"train: process {rank} of {num_processes} was ended by {name}{hint}."
        print(f"clsgen: error: {killed} {how_to_go_on(settings)}", file=sys.stderr)

    return launch(ranks_command(_without_launch(sys.argv[1:])), num_processes=num_processes, on_killed=tell)


def how_to_go_on(settings: RunConfig) -> str:
    """What to do after a stop or a kill."""
    if RunFolder(Path(settings.output)).config_file.is_file():
        return "Go on: the same command with --resume."
    return "Nothing was written: run the same command again."


def _without_launch(arguments: list[str]) -> list[str]:
    """The arguments without --launch and --num-processes, for the processes that they start."""
    kept, words = [], iter(arguments)
    for word in words:
        name, _, value = word.partition("=")
        if name not in ("--launch", "--num-processes"):
            kept.append(word)
        elif not value:
            next(words, None)
    return kept
