"""`clsgen tune`: what each threshold policy gives on calibration rows, and one of them stored in the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from clsgen.cli.console import console, print_dropped, quiet_libraries
from clsgen.config.policy import ABSTENTIONS, THRESHOLDS, spelled

if TYPE_CHECKING:
    from clsgen.pipeline.tune import Tuned

_SHOWN = {"sensitivity": 2, "specificity": 2, "ppv": 2, "alerts_per_1000": 0}


def tune(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    policy: Annotated[str | None, typer.Option(help=f"{spelled(THRESHOLDS)}. Left out: the threshold stays.")] = None,
    abstain: Annotated[str | None, typer.Option(help=f"{spelled(ABSTENTIONS)}. Left out: it stays.")] = None,
    on: Annotated[
        str | None, typer.Option(help="Labelled rows that are no test rows; by default the run's calibration role.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="Where the base weights are, if they moved.")] = None,
) -> None:
    """Compare threshold policies on calibration rows; with --policy or --abstain, store that choice in the model."""
    from clsgen.pipeline.tune import tune_run

    quiet_libraries()
    found = tune_run(run, policy=policy, abstain=abstain, on=on, base=base)
    console.print(_table(found))
    print_dropped(found.result["dropped"])
    console.print("Chosen on these rows, so hopeful on them: clsgen eval measures it on the test role.", soft_wrap=True)
    rule = found.rule
    abstention = "" if rule.abstention is None else f"; left undecided by {rule.abstention.policy}"
    state = "Stored in the model" if found.is_stored else "In the model"
    console.print(f"{state}: {rule.policy}, {found.result['positive']} from {rule.threshold:.4f} upwards{abstention}.")
    for path in found.files:
        console.print(f"Written: {path}", soft_wrap=True)


def _table(found: Tuned) -> Table:
    result = found.result
    table = Table(
        title=f"{result['num_rows']} calibration rows, {result['num_positive']} of them {result['positive']}, "
        f"in {result['num_groups']} groups",
        box=SIMPLE_HEAD,
    )
    for name, justify in (("policy", "left"), ("p from", "right"), *((name, "right") for name in _SHOWN)):
        table.add_column(name.replace("_", " "), justify=justify)  # type: ignore[arg-type]
    for entry in result["policies"]:
        cells = [_cell(entry[name], digits) for name, digits in _SHOWN.items()]
        table.add_row(
            entry["policy"].replace("=", " = "),  # breaks at a blank where the terminal is narrow
            f"{entry['threshold']:.3f}",
            *cells,
        )
    return table


def _cell(entry: dict[str, Any], digits: int) -> str:
    """The value, and below it the interval: a line of both would not fit a terminal of 80 columns."""
    value, low, high = entry["estimate"], entry["low"], entry["high"]
    if value is None:
        return "-"
    return f"{value:.{digits}f}" + ("" if low is None else f"\n{low:.{digits}f} to {high:.{digits}f}")
