"""The entry point: commands that are imported when they are used, and errors as one line."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

import clsgen
from clsgen.errors import ClsgenError, PeerError


class Command(NamedTuple):
    """Where a command's function, or its group of commands, lives, and its line in `clsgen --help`."""

    module: str
    attribute: str
    help: str


COMMANDS = {
    "init": Command("clsgen.cli.init", "init", "Write a commented configuration to start from."),
    "doctor": Command("clsgen.cli.doctor", "doctor", "Check this machine and installation."),
    "env": Command("clsgen.cli.env", "env", "Show the versions and the machine, for a bug report."),
    "data": Command("clsgen.cli.data", "app", "Look at the rows: leaks, duplicates, balance, lengths."),
    "synth": Command("clsgen.cli.synth", "synth", "Have a teacher write explanations for the labelled rows."),
    "train": Command("clsgen.cli.train", "train", "Train, calibrate and save a model as a configuration says."),
    "calibrate": Command("clsgen.cli.calibrate", "calibrate", "Fit calibrator and threshold of a model again."),
    "export": Command("clsgen.cli.export", "export", "Write the model in a form that other tools read."),
    "tune": Command("clsgen.cli.tune", "tune", "Compare threshold policies, and choose one."),
    "predict": Command("clsgen.cli.predict", "predict", "Give each text a probability and a reason."),
    "eval": Command("clsgen.cli.evaluate", "evaluate", "Judge predictions: metrics with intervals."),
    "compare": Command("clsgen.cli.compare", "compare", "The run beside its baselines, on the same rows and seeds."),
    "judge": Command("clsgen.cli.judge", "judge", "Let a language model read the explanations blind."),
    "report": Command("clsgen.cli.report", "report", "A run's results as one page that loads nothing."),
    "review": Command("clsgen.cli.review", "app", "Let people judge decisions and reasons, blinded."),
    "serve": Command("clsgen.cli.serve", "serve", "Answer over HTTP: the probability first, then the reason."),
    "verify": Command("clsgen.cli.verify", "verify", "Compare a model's files with the hashes it was saved with."),
    "push": Command("clsgen.cli.push", "push", "Put a model and its card on the hub, privately."),
    "bench": Command("clsgen.cli.bench", "bench", "Measure how fast a model is here, and what bounds it."),
    "quickstart": Command("clsgen.cli.quickstart", "quickstart", "The whole path on generated notes, in minutes."),
}


class LazyGroup(TyperGroup):
    """Lists every command from the table above, and imports the one that is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=command.help) for name, command in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command as always, then put the real one in its place."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else _load(name), rest


def _load(name: str) -> Any:
    command = COMMANDS[name]
    target = getattr(importlib.import_module(command.module), command.attribute)
    holder = _plain_app()
    if isinstance(target, typer.Typer):
        holder.add_typer(target, name=name, help=command.help, no_args_is_help=True)
    else:
        holder.command(name)(target)
    return typer.main.get_group(holder).commands[name]


def _plain_app(**options: Any) -> typer.Typer:
    """An app without markup, which would read `data.labels=[no, yes]` in a help text as a style."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **options)


app = _plain_app(cls=LazyGroup, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})


def _show_version(is_asked: bool) -> None:
    if is_asked:
        print(f"clsgen {clsgen.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Fine-tune a causal language model with two heads: a calibrated probability, and the reason in words."""


def main() -> None:
    """Run the command line; exits 0, 1 (a check failed), 2 (a user's mistake) or 130 (interrupted)."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported
    try:
        typer.main.get_command(app)(prog_name="clsgen")
    except PeerError:  # the process that failed has said why
        sys.exit(2)
    except ClsgenError as error:
        print(f"clsgen: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
