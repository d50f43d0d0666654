"""The whole path on generated notes: train, calibrate, predict, judge, in minutes and without a download."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback

from clsgen.config.run import RunConfig
from clsgen.data.predictions import read_predictions
from clsgen.errors import ConfigError
from clsgen.pipeline.evaluate import evaluate_run
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.train import train_run
from clsgen.types import Example, Prediction

TASK = "synthetic-notes"


class Shown(NamedTuple):
    """What a quickstart ends with: the run, its metrics, and one test note with its prediction."""

    run: Path
    result: dict[str, Any]
    example: Example
    prediction: Prediction


def quickstart_config(output: Path) -> RunConfig:
    """Settings that two cores train in a few minutes."""
    return RunConfig.model_validate(
        {
            "output": str(output),
            "data": {"task": TASK, "num_rows": 8000, "split": {"validation": 0.05}},
            "model": {
                "init": "scratch",
                "tuning": "full",
                "max_length_tokens": 384,
                "max_explanation_tokens": 96,
                "scratch": {"vocabulary": 2048, "width": 128, "num_layers": 4, "num_heads": 4},
            },
            "train": {
                "epochs": 1,
                "batch_size": 8,
                "learning_rate": 1e-3,
                "eval_steps": 200,
                "patience": None,
                "log_steps": 50,
            },
            "predict": {"batch_tokens": 16384},
        }
    )


def quickstart(
    output: Path,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    notify: Callable[[str], None] = lambda message: None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Shown:
    """Run it all; an earlier quickstart in `output` is replaced.

    Args:
        output: Run directory.
        callbacks: Trainer callbacks, such as a progress display.
        notify: Called with a line at each stage.
        on_progress: Called with (rows predicted, rows in all).

    Raises:
        ConfigError: `output` holds something else than an earlier quickstart.
    """
    config = quickstart_config(output)
    if output.exists() and any(output.iterdir()):
        folder = RunFolder(output)
        if not folder.config_file.is_file() or folder.config().data.task != TASK:
            raise ConfigError(
                f"quickstart: output must be new or an earlier quickstart; {output} holds something else. "
                "Choose another (--output)."
            )
        shutil.rmtree(output)
    run = train_run(config, callbacks=callbacks, notify=notify)
    notify("Predicting and explaining the test rows.")
    result = evaluate_run(run, on_progress=on_progress)
    return _shown(run, result)


def _shown(run: Path, result: dict[str, Any]) -> Shown:
    """The test row to show: the most confidently positive one with a readable answer, else simply the most positive."""
    folder = RunFolder(run)
    predictions = read_predictions(folder.predictions)
    positive = str(result["positive"])
    best = max(predictions, key=lambda found: (found.stated_label is not None, found.probs[positive]))
    example = next(row for row in folder.rows("test") if row.id == best.id)
    return Shown(run, result, example, best)
