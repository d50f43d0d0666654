"""`clsgen compare`: the run beside its baselines, on the same rows and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from clsgen.cli.console import console, quiet_libraries
from clsgen.config.load import load_config
from clsgen.errors import ConfigError
from clsgen.report.comparison import DEFAULT, METHODS, comparison_tables, name_of

_ON_SCREEN = ("auroc", "brier", "ece", "accuracy", "rli", "r_lkappa", "readability", "perplexity")


def compare(
    config: Annotated[Path, typer.Argument(help="The run's YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings that replace those of the file.")] = None,
    methods: Annotated[
        str | None,
        typer.Option(help=f"With commas, of {', '.join(METHODS)}. By default {', '.join(DEFAULT)}, where possible."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, from train.seed on.")] = 3,
    endpoint: Annotated[str | None, typer.Option(help="OpenAI-compatible server whose model is prompted too.")] = None,
    endpoint_model: Annotated[str | None, typer.Option(help="Its model's name.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="Environment variable that holds its key.")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Host that restricted texts may be sent to besides this machine.")
    ] = None,
) -> None:
    """Train and judge the run and its baselines; what is done already is not done again."""
    from clsgen.pipeline.compare import compare_run
    from clsgen.pipeline.endpoint import Endpoint

    quiet_libraries()
    settings = load_config(config, overrides or [])
    if (endpoint is None) != (endpoint_model is None):
        raise ConfigError("compare: --endpoint and --endpoint-model must be given together.")
    server = None
    if endpoint is not None and endpoint_model is not None:
        server = Endpoint(endpoint, endpoint_model, api_key_env, tuple(allow_host or ()))
    result = compare_run(
        settings,
        methods=None if methods is None else [name.strip() for name in methods.split(",")],
        num_seeds=seeds,
        endpoint=server,
        notify=lambda message: console.print(message, soft_wrap=True),
    )
    for table in comparison_tables(result):
        console.print(_table(table))
    for name, method in result["methods"].items():
        if "reason" in method:
            console.print(f"{name_of(name)}: {method['reason']} ({method['num_rows']} rows). {_failures(method)}")
    console.print(f"Written: {Path(settings.output) / 'comparison.json'}", soft_wrap=True)


def _table(table: dict[str, Any]) -> Table:
    """The columns that fit a terminal, intervals below their figures; comparison.json has all."""
    shown = Table(title=table["caption"], title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    columns = [index for index, name in enumerate(table["names"]) if name in _ON_SCREEN]
    shown.add_column("")
    for index in columns:
        shown.add_column(table["names"][index], justify="right", no_wrap=True)
    for row in table["rows"]:
        shown.add_row(row["name"], *(row["cells"][index].replace(" (", "\n").rstrip(")") for index in columns))
    return shown


def _failures(method: dict[str, Any]) -> str:
    counts = method["notes"][0].get("failures", {})
    return ", ".join(f"{reason} {count}" for reason, count in counts.items())
