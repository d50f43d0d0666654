"""What several commands show: progress of rows on a terminal, tables of figures. Loads no torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from clsgen.report.wording import rows_read

console = Console(highlight=False)


def quiet_libraries() -> None:
    """Keep other libraries' progress bars and notices off the screen; ours say the same once."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    with suppress(ImportError):  # the extra `teacher`
        from stamina import instrumentation

        instrumentation.set_on_retry_hooks(())


def rows_bar() -> Progress:
    """A bar that counts."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )


@contextmanager
def row_progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of rows on a terminal, nothing elsewhere."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with rows_bar() as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def print_dropped(dropped: Mapping[str, int]) -> None:
    """Say how many rows were left out, and why; nothing where none was."""
    for reason, count in dropped.items():
        console.print(f"Dropped: {count} rows ({reason})")


def metrics_table(result: Mapping[str, Any]) -> Table:
    """Probability and explanation figures with their intervals; what is undefined says why."""
    share = round(100 * result["bootstrap"]["confidence"])
    unlabelled = f", {count} without a label" if (count := result["num_unlabelled"]) else ""
    positive = f"; positive: {result['positive']}" if result["positive"] else ""
    title = f"{result['split']} role: {result['num_rows']} rows in {result['num_groups']} groups{unlabelled}{positive}"
    table = Table(title=title, caption=_notes(result), caption_justify="left")
    for name, justify in (("figure", "left"), ("value", "right"), (f"{share}% interval", "right"), ("n", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    has_texts = any(entry["n"] for entry in result["explanations"].values())
    for part in ("metrics", "explanations") if has_texts else ("metrics",):
        for name, entry in result[part].items():
            if entry["value"] is None:
                table.add_row(name, "-", str(entry.get("reason", "")), rows_read(entry))
            else:
                low, high = entry["low"], entry["high"]
                interval = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
                interval += "*" if entry.get("num_undefined_draws") else ""
                table.add_row(name, f"{entry['value']:.3f}", interval, rows_read(entry))
        table.add_section()
    return table


def _notes(result: Mapping[str, Any]) -> str | None:
    """What must be known of the intervals."""
    from clsgen.evaluation.subgroups import SMALL_GROUPS

    found = []
    if result["num_groups"] < SMALL_GROUPS:
        found.append(f"Intervals from draws of {result['num_groups']} groups are too narrow.")
    entries = [*result["metrics"].values(), *result["explanations"].values()]
    if any(entry.get("num_undefined_draws") for entry in entries):
        found.append("* undefined in some draws, which are left out.")
    return " ".join(found) or None


def subgroup_table(result: Mapping[str, Any]) -> Table:
    """What the rows are worth by each column; parts that are too small to say much are marked."""
    names = ("auroc", "brier", "ece", "sensitivity", "ppv") if result["positive"] else ("auroc", "brier", "accuracy")
    table = Table(title="By part of the rows")
    for name in ("", "rows", *names):
        table.add_column(name, justify="left" if not name else "right")
    for column, parts in result["subgroups"].items():
        table.add_row(column, style="bold")
        for part in parts:
            mark = " (small)" if "warning" in part else ""
            figures = [part["figures"].get(name, {}).get("value") for name in names]
            cells = ["-" if value is None else f"{value:.3f}" for value in figures]
            table.add_row(f"  {part['value']}{mark}", str(part["num_rows"]), *cells)
    return table


def figure_text(entry: Mapping[str, Any]) -> str:
    """A figure with its interval in one cell; empty where it is undefined."""
    value, low, high = entry.get("value", entry.get("estimate")), entry["low"], entry["high"]
    if value is None:
        return ""
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.3f} to {high:.3f})"
