"""Write the pages of docs/reference that are generated from the code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from clsgen.cli.main import COMMANDS, app
from clsgen.config.render import markdown_reference
from clsgen.serve.app import description

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
WIDTH = 100
"""Columns of the help texts, whatever terminal the page is made in."""

_INTRODUCTION = """\
# Commands

Every command as `clsgen COMMAND --help` shows it. `python -m clsgen` is the same program.

- `section.key=value` after the YAML file of `train`, `data check`, `synth` and `compare` changes one setting for that
  run; the settings stand in [config.md](config.md).
- Exit status: 0, done; 1, a check failed (`data check` found a leak, `doctor` a failure, `verify` a difference),
  `synth` kept nothing or came to the end of its budget, or a server stopped with requests unanswered; 2, a user's
  mistake, told on the error stream; 130, interrupted. A traceback is a bug.
- What is printed is for people. Programs read `predictions.jsonl` and `metrics.json`: see [artifact.md](artifact.md)
  and [metrics.md](metrics.md).

This page is generated from the commands' own help by `python scripts/build_docs.py`.
"""


def commands_reference() -> str:
    """The page of the commands: a heading and the help text each, in the order of `clsgen --help`."""
    root = typer.main.get_command(app)
    context = typer.Context(root, info_name="clsgen", terminal_width=WIDTH, **root.context_settings)
    parts = [_INTRODUCTION, _section(context)]
    for name in COMMANDS:
        command = root.resolve_command(context, [name])[1]  # type: ignore[attr-defined]
        parts += [_section(each) for each in _contexts(command, name, context)]
    return "\n".join(parts)


def _contexts(command: Any, name: str, parent: Any) -> Iterator[Any]:
    """The command's context, or those of its subcommands: a group by itself says nothing more."""
    context = typer.Context(command, info_name=name, parent=parent, terminal_width=WIDTH)
    if not hasattr(command, "commands"):
        yield context
        return
    for subname, subcommand in command.commands.items():
        yield from _contexts(subcommand, subname, context)


def _section(context: Any) -> str:
    return f"## `{context.command_path}`\n\n```text\n{context.get_help().strip()}\n```\n"


def main() -> None:
    """Write the generated pages, and the description of the server's API."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    api = json.dumps(description(), indent=2, ensure_ascii=False) + "\n"
    for name, text in (("config.md", markdown_reference()), ("cli.md", commands_reference()), ("openapi.json", api)):
        (REFERENCE / name).write_text(text, encoding="utf-8")
        print(f"wrote docs/reference/{name}")


if __name__ == "__main__":
    main()
