"""`clsgen init`: a commented configuration to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clsgen.artifacts import write_text_atomic
from clsgen.config.render import commented_yaml, example_config
from clsgen.errors import ConfigError


def init(
    output: Annotated[Path, typer.Argument(help="The file to write.")] = Path("clsgen.yaml"),
    task: Annotated[
        str | None, typer.Option(help="A built-in task, such as clinifact; by default the generated notes.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a commented configuration: every setting with its meaning, ready to run on the embedded base model."""
    if output.exists() and not force:
        raise ConfigError(f"{output}: the output must be a new file; got one that exists. Choose another, or --force.")
    write_text_atomic(output, commented_yaml(example_config(task)))
    print(f"Wrote {output}. Edit it, then run: clsgen train {output}")
