"""The whole path on generated notes: train, calibrate, predict, judge, in minutes and without a download."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback

from clsgen.config.render import example_config
from clsgen.data.predictions import read_predictions
from clsgen.errors import ConfigError
from clsgen.pipeline.evaluate import evaluate_run
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.train import train_run
from clsgen.types import Example, Prediction


class Shown(NamedTuple):
    """What a quickstart ends with: the run, its metrics, and one test note with its prediction."""

    run: Path
    result: dict[str, Any]
    example: Example
    prediction: Prediction


def quickstart(
    output: Path,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    notify: Callable[[str], None] = lambda message: None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Shown:
    """Run what `clsgen init` would write; an earlier quickstart in `output` is replaced.

    Args:
        output: Run directory.
        callbacks: Trainer callbacks, such as a progress display.
        notify: Called with a line at each stage.
        on_progress: Called with (rows predicted, rows in all).

    Raises:
        ConfigError: `output` holds something else than an earlier quickstart.
    """
    config = example_config().model_copy(update={"output": str(output)})
    if output.exists() and any(output.iterdir()):
        folder = RunFolder(output)
        if not folder.config_file.is_file() or folder.config().data.task != config.data.task:
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
    """The test row to show: the most confidently positive one whose text agrees with the decision, if there is one."""
    folder = RunFolder(run)
    predictions = read_predictions(folder.predictions)
    positive = str(result["positive"])
    best = max(predictions, key=lambda found: (found.agreement is True, found.probs[positive]))
    example = next(row for row in folder.rows("test") if row.id == best.id)
    return Shown(run, result, example, best)
