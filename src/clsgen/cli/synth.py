"""`clsgen synth`: explanations by a teacher."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from clsgen.cli.console import console, quiet_libraries
from clsgen.config.load import load_config
from clsgen.config.run import RunConfig
from clsgen.data.teacher.prompts import write_prompts as write_prompt_files
from clsgen.data.teacher.tally import ClassTally
from clsgen.errors import RestrictedError
from clsgen.llm.limits import Tokens
from clsgen.pipeline.explanations import EXPLANATIONS
from clsgen.pipeline.rows import load_split
from clsgen.pipeline.synth import Shown, Synthesised, first_request, prices_of, synthesise

_LINE_SECONDS = 30.0
"""Without a terminal, a line of progress this often."""


def synth(
    config: Annotated[Path, typer.Argument(help="The run's YAML file; its `teacher` section says who is asked.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings that replace those of the file: teacher.num_samples=2")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A host that restricted texts may go to besides this machine; repeatable.")
    ] = None,
    write_prompts: Annotated[
        Path | None, typer.Option(help="Copy the built-in prompts into this folder, to be edited; ask nothing.")
    ] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write the explanations as parquet too.")] = False,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Show the first request; send nothing.")] = False,
    show_text: Annotated[bool, typer.Option("--show-text", help="Print texts of a restricted task.")] = False,
) -> None:
    """Have a teacher explain the labelled train and validation rows; run it again to go on where it stopped."""
    quiet_libraries()
    if write_prompts is not None:
        write_prompt_files(write_prompts)
        console.print(f"Prompts: {write_prompts}. Edit them, and set teacher.prompts to this folder.", soft_wrap=True)
        return
    settings = load_config(config, overrides or [])
    if is_dry:
        _show_request(settings, show_text=show_text)
        return
    with _progress(settings) as on_progress:
        found = synthesise(settings, allowed_hosts=allow_host or (), with_parquet=parquet, on_progress=on_progress)
    console.print(rows_table(found.tallies))
    if any(each.dropped_answers or each.dropped_rows for each in found.tallies.values()):
        console.print(reasons_table(found.tallies))
    if found.stopped is None and found.causes:
        for cause, count in Counter(found.causes).most_common(3):
            console.print(f"{count} requests failed: {cause}", soft_wrap=True, markup=False)
        console.print("The same command asks them again.")
    if found.tokens_wasted:
        console.print(
            f"Attempts that failed may have cost {found.tokens_wasted:,} tokens more; the budget counts them."
        )
    if found.num_estimated:
        console.print(f"Tokens of {found.num_estimated} answers are estimated: the server did not count them.")
    console.print(f"Explanations: {found.folder / EXPLANATIONS}", soft_wrap=True)
    if found.stopped is not None:
        message = f"Stopped early: {found.stopped} The same command goes on from here."
        console.print(message, soft_wrap=True, markup=False)
        raise typer.Exit(1)
    if not any(each.num_kept for each in found.tallies.values()):
        console.print(f"No explanation was kept: {_advice(settings, found)}", soft_wrap=True)
        if found.sample is not None:
            console.print(Panel(Text(found.sample), title="an answer of the teacher", expand=False))
        raise typer.Exit(1)
    console.print(f"Next:  clsgen train {config} data.explanations=teacher", soft_wrap=True)


def _advice(settings: RunConfig, found: Synthesised) -> str:
    """What to do where nothing was kept."""
    if settings.teacher.strategy == "human":
        return "no row brings an explanation. Name its column (data.columns.explanation), or choose another strategy."
    if found.causes:
        return "requests failed, as said above. Mend the cause and run the same command again."
    return "change the prompts (--write-prompts), the filters or the teacher."


def _show_request(settings: RunConfig, *, show_text: bool) -> None:
    if load_split(settings.data).spec.is_restricted and not show_text:
        raise RestrictedError("synth: a request of a restricted task is not shown. Add --show-text to see it.")
    ask = first_request(settings)
    for role, content in ask.request.messages:
        console.print(Panel(Text(content), title=role, expand=False))


@contextmanager
def _progress(settings: RunConfig) -> Iterator[Any]:
    """A bar with tokens, cost and time left on a terminal; a line now and then elsewhere."""
    prices = prices_of(settings.teacher)
    started = last = time.monotonic()
    earlier: dict[int, Tokens] = {}

    def described(shown: Shown) -> str:
        earlier[shown.round_number] = shown.progress.tokens
        tokens = sum(earlier.values(), Tokens())  # of every round so far
        cost = "" if prices is None else f", cost {prices.cost(tokens):.4f}"
        failed = f", {shown.progress.num_failed} failed" if shown.progress.num_failed else ""
        return f"round {shown.round_number} of {shown.num_rounds}: {tokens.total:,} tokens{cost}{failed}"

    def print_line(shown: Shown) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_SECONDS:
            last = time.monotonic()
            done = shown.progress.num_done
            left = (last - started) / max(done, 1) * (shown.num_requests - done) if shown.round_number == 1 else None
            about = "" if left is None else f", about {left / 60:.0f} min left in this round"
            console.print(f"{described(shown)}, {done} of {shown.num_requests} requests{about}")

    if not console.is_terminal:
        yield print_line
        return
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("asking", total=None)
        yield lambda shown: bar.update(
            task, completed=shown.progress.num_done, total=shown.num_requests, description=described(shown)
        )


def rows_table(tallies: Mapping[str, ClassTally]) -> Table:
    """Rows by class: asked, kept, by whom, the class's share before and after, tokens and cost.

    Columns of explanations that were quoted, and of the cost, are left out where there is nothing to tell.
    """
    cells: dict[str, Callable[[ClassTally], str]] = {
        "asked": lambda found: str(found.num_rows),
        "kept": lambda found: str(found.num_kept),
        "hinted": lambda found: _share(found.hinted_share),
        "extractive": lambda found: str(found.num_extractive),
        "share asked": lambda found: _share(found.share_asked),
        "share kept": lambda found: _share(found.share_kept),
        "tokens": lambda found: f"{found.tokens.total:,}",
        "cost": lambda found: "-" if found.cost is None else f"{found.cost:.4f}",
    }
    if not any(found.num_extractive for found in tallies.values()):
        del cells["extractive"]
    if all(found.cost is None for found in tallies.values()):
        del cells["cost"]
    table = Table(title="rows by class")
    table.add_column("class", overflow="fold")
    for name in cells:
        table.add_column(name, justify="right", min_width=max(map(len, name.split())))
    for name, found in tallies.items():
        table.add_row(Text(name), *(of(found) for of in cells.values()))
    return table


def reasons_table(tallies: Mapping[str, ClassTally]) -> Table:
    """Why answers were dropped, and rows left without an explanation, by class."""
    table = Table(title="dropped: answers (rows left without an explanation)")
    table.add_column("reason")
    for name in tallies:
        table.add_column(Text(name), justify="right")
    reasons = dict.fromkeys(
        reason for found in tallies.values() for reason in (*found.dropped_answers, *found.dropped_rows)
    )
    for reason in reasons:
        cells = []
        for found in tallies.values():
            rows = found.dropped_rows.get(reason, 0)
            cells.append(f"{found.dropped_answers.get(reason, 0)}{f' ({rows})' if rows else ''}")
        table.add_row(reason, *cells)
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
