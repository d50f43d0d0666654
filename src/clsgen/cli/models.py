"""How commands that ask a model take it: a folder here, or its name on the hub."""

from __future__ import annotations

from typing import Annotated

import typer

MODEL_HELP = "Model directory, the run directory that holds it, or a model on the hub: ORG/NAME."

ModelName = Annotated[str, typer.Argument(help=MODEL_HELP)]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a model on the hub; by default its main branch.")
]
