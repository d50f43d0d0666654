"""What several commands show: progress on a terminal, plain lines elsewhere, tables of figures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from transformers import TrainerCallback
from transformers.utils import logging as transformers_logging

console = Console(highlight=False)

_SHOWN = ("class_loss", "explanation_loss", "kl", "auroc", "brier", "perplexity", "ended_share")


def quiet_libraries() -> None:
    """Keep other libraries' progress bars and notices off the screen; ours say the same once."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)


class TrainingDisplay(TrainerCallback):  # type: ignore[misc]
    """A progress bar and a line at each evaluation on a terminal; plain lines elsewhere."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar, where there is a terminal."""
        if console.is_terminal and state.is_world_process_zero:
            self._progress = _bar()
            self._progress.start()
            self._task = self._progress.add_task("training", total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar."""
        if self._progress is not None:
            self._progress.update(self._task, completed=state.global_step)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **kwargs: Any
    ) -> None:
        """One line a log; training losses only where there is no bar to show that something moves."""
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        is_evaluation = any(name.startswith("eval_") for name in logs)
        if self._progress is None or is_evaluation:
            where = f"step {state.global_step:>5} of {state.max_steps}"
            console.print(f"{where}  {_line(logs, is_evaluation=is_evaluation)}", soft_wrap=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _line(logs: Mapping[str, float], *, is_evaluation: bool) -> str:
    prefix = "eval_" if is_evaluation else ""
    figures = {name.removeprefix(prefix): value for name, value in logs.items()}
    shown = [name for name in _SHOWN if name in figures]
    text = "  ".join(f"{name} {figures[name]:.3g}" for name in shown)
    return f"{'validation' if is_evaluation else 'train'}  {text}"


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )


@contextmanager
def row_progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of rows on a terminal, nothing elsewhere."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with _bar() as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def metrics_table(result: Mapping[str, Any]) -> Table:
    """Probability and explanation figures with their intervals; what is undefined says why."""
    share = round(100 * result["bootstrap"]["confidence"])
    table = Table(title=f"{result['split']} role: {result['num_rows']} rows in {result['num_groups']} groups")
    for name, justify in (("figure", "left"), ("value", "right"), (f"{share}% interval", "right"), ("n", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    has_texts = any(entry["n"] for entry in result["explanations"].values())
    for part in ("metrics", "explanations") if has_texts else ("metrics",):
        for name, entry in result[part].items():
            if entry["value"] is None:
                table.add_row(name, "-", str(entry.get("reason", "")), str(entry["n"]))
            else:
                low, high = entry["low"], entry["high"]
                interval = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
                table.add_row(name, f"{entry['value']:.3f}", interval, str(entry["n"]))
        table.add_section()
    return table


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
            figures = [part["figures"][name]["value"] for name in names]
            cells = ["-" if value is None else f"{value:.3f}" for value in figures]
            table.add_row(f"  {part['value']}{mark}", str(part["num_rows"]), *cells)
    return table


def figure_text(entry: Mapping[str, Any]) -> str:
    """A figure with its interval in one cell; empty where it is undefined."""
    value, low, high = entry.get("value", entry.get("estimate")), entry["low"], entry["high"]
    if value is None:
        return ""
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.3f} to {high:.3f})"
