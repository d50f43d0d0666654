"""An epoch over rows of mixed length by clsgen's trainer; see peers_training.trainer_epoch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clsgen.config.training import TrainSettings
from clsgen.training.objective import objective_of, training_arguments
from clsgen.training.trainer import DualTrainer
from rows.training import dual_model, row_of


def epoch(model: str, lengths: str, batch_size: int, num_target: int) -> Callable[[], Any]:
    """Both losses over every row once."""
    dual = dual_model(model)
    rows = [
        row_of(row, length, num_target, document_end=length - 1)
        for row, length in enumerate(json.loads(Path(lengths).read_text(encoding="utf-8")))
    ]
    settings = TrainSettings(epochs=1, batch_size=batch_size, precision="float32", log_steps=1000)

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            arguments = training_arguments(settings, Path(folder), has_validation=False)
            arguments.save_strategy = "no"
            DualTrainer(
                dual,
                arguments,
                train_rows=rows,
                validation_rows=[],
                objective=objective_of(settings, None),
                pad_id=0,
            ).train()

    return run
