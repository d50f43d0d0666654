"""`clsgen doctor`: what is wrong with this machine or installation, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clsgen.config.load import load_config
from clsgen.pipeline.doctor import check_backbone, check_machine


def doctor(
    config: Annotated[
        Path | None, typer.Option(help="Also look for the backbone that this configuration names.")
    ] = None,
) -> None:
    """Check this machine and installation; exits 1 when something fails. Never calls the network."""
    settings = None if config is None else load_config(config)
    checks = check_machine(Path.cwd())
    if settings is not None:
        checks.append(check_backbone(settings.model))
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{check.status:<4}  {check.name:<{width}}  {check.message}")
        if check.fix:
            print(f"{'':<4}  {'':<{width}}  -> {check.fix}")
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(1)
