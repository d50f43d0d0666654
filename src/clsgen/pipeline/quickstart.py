"""The whole path on small data, in minutes and without a download: train, calibrate, predict, judge."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import TrainerCallback

from clsgen.config.render import example_config
from clsgen.config.run import RunConfig
from clsgen.data.predictions import read_predictions
from clsgen.errors import ConfigError, DataError
from clsgen.model.products import is_fast_bfloat16
from clsgen.pipeline.evaluate import evaluate_run
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.train import train_run
from clsgen.tasks.clinifact import files
from clsgen.types import Example, Prediction

_NOTES: dict[str, Any] = {
    "data": {"num_rows": 1100},
    "model": {"tuning": "full"},  # LoRA learns less of the notes in the same minutes
    "train": {"epochs": 2.0, "learning_rate": 3e-4},
}
_FEWER_NOTES: dict[str, Any] = {
    "data": {"num_rows": 800, "split": {"validation": 0.05, "calibration": 0.2}},
    "model": {"tuning": "full"},
    # Steps so few undo more of the base than they teach, unless they are small and the head's are not.
    "train": {"epochs": 1.0, "batch_size": 4, "learning_rate": 1e-4, "head_learning_rate": 3e-3},
}
"""Where bfloat16 is not fast, a row takes several times as long."""
_CLINIFACT: dict[str, Any] = {
    # Grouped, so that nothing leaks; the last fold is the one that no large group dominates.
    "data": {
        "variant": "binary",
        "allow_leaks": False,
        "split": {"num_folds": 20, "fold": 19, "validation": 0.04, "calibration": 0.1},
    },
    "train": {"max_steps": 6, "learning_rate": 2e-4, "head_learning_rate": 1e-3},  # so few must not undo the base
    "predict": {"explain": "uncertain", "uncertain_margin": 0.02},
}


class Shown(NamedTuple):
    """What a quickstart ends with: the run, its metrics, and one test row with its prediction."""

    run: Path
    result: dict[str, Any]
    example: Example
    prediction: Prediction


def quickstart_configs(output: Path) -> list[RunConfig]:
    """The generated notes, and CliniFact where its files are at hand; each is a shorter run of what `init` writes.

    Fewer notes are read once where bfloat16 is not fast, so that two cores need less than five minutes.

    Args:
        output: Folder of the runs.
    """
    is_bfloat16 = is_fast_bfloat16(torch.device("cpu"))
    is_fast = is_bfloat16 or torch.cuda.is_available()
    notes = _short(example_config(), output, _NOTES if is_fast else _FEWER_NOTES)
    try:
        files(notes.data.root)
    except DataError:
        return [notes]
    dtype = "bfloat16" if is_bfloat16 else "float32"
    claims = _short(example_config("clinifact"), output, _CLINIFACT | {"model": {"dtype": dtype}})
    return [notes, claims]


def _short(config: RunConfig, output: Path, changes: dict[str, dict[str, Any]]) -> RunConfig:
    """The configuration with settings changed, its run in `output`."""
    values = config.model_dump()
    values["predict"]["no_repeat_ngram"] = 8
    values["train"]["num_monitor_explanations"] = 0
    values["calibrate"]["threshold"] = "youden"
    for section, settings in changes.items():
        values[section] |= settings
    return RunConfig.model_validate(values | {"output": str(output / str(config.data.task))})


def check_free(configs: Sequence[RunConfig], output: Path) -> None:
    """Whether `output` is new or holds earlier quickstarts and nothing else.

    Raises:
        ConfigError: It holds something else.
    """
    names = {Path(config.output).name: config for config in configs}
    for path in sorted(output.iterdir()) if output.exists() else ():
        folder = RunFolder(path)
        if not folder.config_file.is_file() or folder.config().data.task != path.name or path.name not in names:
            raise ConfigError(
                f"quickstart: output must be new or an earlier quickstart; {output} holds {path.name}. "
                "Choose another (--output)."
            )


def quickstart(
    config: RunConfig,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    notify: Callable[[str], None] = lambda message: None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Shown:
    """Run one configuration of `quickstart_configs`; an earlier run of it is replaced.

    Args:
        config: The run.
        callbacks: Trainer callbacks, such as a progress display.
        notify: Called with a line at each stage.
        on_progress: Called with (rows predicted, rows in all).
    """
    shutil.rmtree(config.output, ignore_errors=True)
    run = train_run(config, callbacks=callbacks, notify=notify)
    notify("Predicting and explaining the test rows.")
    return _shown(run, evaluate_run(run, on_progress=on_progress))


def _shown(run: Path, result: dict[str, Any]) -> Shown:
    """The test row to show: an explained one whose text agrees with the decision, the most confidently positive."""
    folder = RunFolder(run)
    predictions = read_predictions(folder.predictions)
    positive = str(result["positive"])
    best = max(
        predictions,
        key=lambda found: (found.explanation is not None, found.agreement is True, found.probs[positive]),
    )
    example = next(row for row in folder.rows("test") if row.id == best.id)
    return Shown(run, result, example, best)
