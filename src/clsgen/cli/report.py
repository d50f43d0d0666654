"""`clsgen report`: a run's results as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clsgen.cli.console import console
from clsgen.report.cases import NUM_EACH


def report(
    run: Annotated[Path, typer.Argument(help="Run directory that was evaluated.")],
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Restricted data: put documents and reasons into the page.")
    ] = False,
    rows: Annotated[int, typer.Option(min=0, help="Most rows to read of each kind of mistake.")] = NUM_EACH,
) -> None:
    """Write report.html, one file that loads nothing, with report.json and the figures beside it."""
    from clsgen.pipeline.report import report_run

    for path in report_run(run, show_text=show_text, num_each=rows):
        console.print(f"Written: {path}", soft_wrap=True)
