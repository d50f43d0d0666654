"""What training shows: a bar and a line at each evaluation on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.progress import Progress
from transformers import TrainerCallback

from clsgen.cli.console import console, rows_bar

_SHOWN = ("class_loss", "explanation_loss", "kl", "auroc", "brier", "perplexity", "ended_share")


class TrainingDisplay(TrainerCallback):  # type: ignore[misc]
    """A progress bar and a line at each evaluation on a terminal; plain lines elsewhere."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar, where there is a terminal."""
        if console.is_terminal and state.is_world_process_zero:
            self._progress = rows_bar()
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
