"""`clsgen push`: a model with its card to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clsgen.cli.console import console, quiet_libraries


def push(
    model: Annotated[Path, typer.Argument(help="Model directory, or the run directory that holds it.")],
    name: Annotated[str, typer.Argument(help="Its name on the hub: ORG/NAME.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it; without, it is private.")] = False,
    base: Annotated[
        str | None, typer.Option(help="Hub id of the base, where the model was trained on a local copy of it.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--license", help="Licence of the model; by default that of its base.")
    ] = None,
    include_data: Annotated[
        bool, typer.Option("--include-data", help="Push the rows and predictions of the run too: their texts.")
    ] = False,
) -> None:
    """Put a model and a card made from its run on the hub; the account is that of `hf auth login` or HF_TOKEN."""
    from clsgen.pipeline.push import PushSettings
    from clsgen.pipeline.push import push as push_model

    quiet_libraries()
    settings = PushSettings(name, is_public=public, base=base, licence=licence, with_data=include_data)
    pushed = push_model(model, settings, notify=lambda message: console.print(message, soft_wrap=True))
    word = "private" if pushed.is_private else "public"
    console.print(f"{pushed.num_files} files -> {pushed.url} ({word}), commit {pushed.revision}", soft_wrap=True)
    console.print(f'Load it: Classifier.from_pretrained("{name}", revision="{pushed.revision}")', soft_wrap=True)
