"""`clsgen review`: people judge decisions and reasons, blinded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from clsgen.cli.console import console, quiet_libraries

app = typer.Typer(rich_markup_mode=None)

_Study = Annotated[Path, typer.Argument(help="Folder of the study.")]


@app.command()
def create(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, evaluated with reasons; two or more compare.")],
    output: Annotated[Path, typer.Option(help="Folder of the study.")],
    reviewer: Annotated[list[str], typer.Option(help="Name of a reviewer; repeatable.")],
    rows: Annotated[int, typer.Option(help="Rows to review, drawn evenly by decision, correctness, confidence.")] = 40,
    checks: Annotated[int, typer.Option(help="Items that show whether reasons are read.")] = 4,
    title: Annotated[str, typer.Option(help="What reviewers see as the title.")] = "Review",
    seed: Annotated[int, typer.Option(help="Of the draws and of every reviewer's order.")] = 0,
    show_text: Annotated[bool, typer.Option("--show-text", help="Make a study of restricted texts.")] = False,
) -> None:
    """Make a blinded study, and print each reviewer's token once."""
    quiet_libraries()
    from clsgen.pipeline.review import StudySettings, create_study

    settings = StudySettings(tuple(reviewer), rows, checks, title, seed, show_text)
    tokens = create_study(runs, output, settings)
    console.print(f"Written: {output}", soft_wrap=True, markup=False)
    console.print("Each reviewer's link ends in # and their token, which is shown here alone:")
    for name, token in tokens.items():
        console.print(f"  {name}: #{token}", soft_wrap=True, markup=False)
    console.print(f"Let them answer: clsgen review serve {output}", soft_wrap=True, markup=False)


@app.command()
def serve(
    study: _Study,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any that is free.")] = 8001,
) -> None:
    """Let reviewers answer in a browser; every choice is kept at once."""
    from clsgen.serve.settings import ServeSettings, check_packages

    quiet_libraries()
    check_packages()
    from clsgen.serve.review.server import serve_study

    settings = ServeSettings(host=host, port=port, names=("*",), drain_s=10.0)  # a token is asked for
    if not settings.is_loopback:
        console.print("Warning: others can reach this server, and the texts travel unencrypted without a proxy.")
    has_answered = serve_study(
        study, settings, on_start=lambda url: console.print(f"Listening on {url} (Ctrl-C stops)", soft_wrap=True)
    )
    console.print("Stopped.")
    if not has_answered:
        raise typer.Exit(1)


@app.command()
def export(
    study: _Study,
    output: Annotated[Path | None, typer.Option(help="CSV file; by default answers.csv in the study.")] = None,
) -> None:
    """Write the answers as a table, a row each, with what reviewers did not know."""
    quiet_libraries()
    from clsgen.pipeline.review import export_answers

    file = output or study / "answers.csv"
    number = export_answers(study, file)
    console.print(f"Written: {file} ({number} answers)", soft_wrap=True, markup=False)


@app.command()
def analyze(
    study: _Study,
    run: Annotated[
        list[Path] | None, typer.Option(help="Run of the study that gets the figures too, for its report; repeatable.")
    ] = None,
    min_checks: Annotated[
        float,
        typer.Option(min=0, max=1, help="Leave out who passed a smaller share of their checks, or completed none."),
    ] = 0.0,
) -> None:
    """Say what the answers amount to: shares, agreement of the reviewers, preference between models."""
    quiet_libraries()
    from clsgen.pipeline.review import analyze_study

    found = analyze_study(study, runs=run or (), min_checks=min_checks)
    for table in (_reviewers(found), *_models(found), _agreement(found)):
        console.print(table)
    for each in found["preference"]:
        console.print(
            f"{each['first']} against {each['second']}: preferred {each['num_first']} to {each['num_second']}, no "
            f"difference {each['num_ties']}; net {_figure(each['net'])}",
            soft_wrap=True,
            markup=False,
        )
    for target in (study, *(run or ())):
        console.print(f"Written: {target / 'review.json'}", soft_wrap=True, markup=False)


def _reviewers(found: dict[str, Any]) -> Table:
    table = Table(title="Reviewers", box=SIMPLE_HEAD)
    for name in ("reviewer", "answered", "checks passed", "seconds an item", ""):
        table.add_column(name, justify="left" if name in ("reviewer", "") else "right")
    for name, each in found["reviewers"].items():
        state = "left out" if each["is_left_out"] else ""
        checks = f"{each['num_passed']} of {each['num_checks']}"
        table.add_row(escape(name), str(each["num_answered"]), checks, str(each["median_seconds"] or "-"), state)
    return table


def _models(found: dict[str, Any]) -> list[Table]:
    tables = []
    for model, figures in found["models"].items():
        table = Table(title=escape(f"{model}: share of the best choice"), box=SIMPLE_HEAD)
        for name in ("question", "share", "answers", "choices"):
            table.add_column(name, justify="right" if name in ("share", "answers") else "left")
        for name, each in figures.items():
            choices = ", ".join(f"{choice} {count}" for choice, count in each.get("choices", {}).items())
            table.add_row(name.replace("_", " "), _figure(each), str(each["n"]), choices)
        tables.append(table)
    return tables


def _agreement(found: dict[str, Any]) -> Table:
    table = Table(title="Agreement of the reviewers beyond chance", box=SIMPLE_HEAD)
    names = list(next(iter(found["agreement"].values())))
    for name in ("question", *names):
        table.add_column(escape(name), justify="left" if name == "question" else "right")
    for question, figures in found["agreement"].items():
        table.add_row(question, *(_figure(figures[name]) for name in names))
    return table


def _figure(entry: dict[str, Any]) -> str:
    if entry["value"] is None:
        return "-"
    interval = "" if entry["low"] is None else f" ({entry['low']:.2f} to {entry['high']:.2f})"
    return f"{entry['value']:.2f}{interval}"
