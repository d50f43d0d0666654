"""`clsgen judge`: a language model reads a run's explanations blind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from clsgen.cli.console import console, figure_text
from clsgen.pipeline.endpoint import Endpoint
from clsgen.pipeline.judge import judge_run


def judge(
    run: Annotated[Path, typer.Argument(help="Run directory that was evaluated with explanations.")],
    endpoint: Annotated[str, typer.Option(help="OpenAI-compatible server of the judge.")],
    model: Annotated[str, typer.Option(help="Its model's name.")],
    api_key_env: Annotated[str | None, typer.Option(help="Environment variable that holds its key.")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Host that restricted texts may be sent to besides this machine.")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Most explanations to judge; by default all.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests under way at a time.")] = 8,
) -> None:
    """Recover each reason's label blind, twice, and write judge.json: agreement with the decision and with itself."""
    server = Endpoint(endpoint, model, api_key_env, tuple(allow_host or ()), concurrency)
    result = judge_run(run, server, num_rows=rows)
    table = Table(title=f"Judge {result['model']} on {result['num_rows']} explanations", box=SIMPLE_HEAD)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, entry in result["figures"].items():
        table.add_row(name, figure_text(entry) or f"- {entry.get('reason', '')}")
    console.print(table)
    if result["failures"]:
        counts = ", ".join(f"{reason} {count}" for reason, count in result["failures"].items())
        console.print(f"Answers that could not be used: {counts}.")
    console.print(f"Written: {run / 'judge.json'}", soft_wrap=True)
