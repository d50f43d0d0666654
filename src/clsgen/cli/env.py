"""`clsgen env`: what a bug report should say of the machine."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from clsgen.pipeline.machine import environment


def env(is_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the versions and the machine, for a bug report; no names and no paths."""
    facts = environment()
    if is_json:
        print(json.dumps(facts, indent=2))
        return
    packages = facts.pop("packages")
    rows = {**facts, **packages}
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {'unknown' if value is None else value}")
