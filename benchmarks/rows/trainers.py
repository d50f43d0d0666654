"""An epoch over rows of mixed length by clsgen's trainer; see peers_training.trainer_epoch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clsgen.config.training import TrainSettings
from clsgen.data.batch import EncodedExample
from clsgen.model import backbone
from clsgen.model.decoder import can_read
from clsgen.model.dual import DualModel
from clsgen.model.head import ClassHead
from clsgen.training.objective import objective_of, training_arguments
from clsgen.training.trainer import DualTrainer
from rows.training import ALPHA, RANK


def epoch(model: str, lengths: str, batch_size: int, num_target: int) -> Callable[[], Any]:
    """Both losses over every row once."""
    torch.manual_seed(0)
    adapted = backbone.add_lora(backbone.load_backbone(model), rank=RANK, alpha=ALPHA, dropout=0.0, targets=None)
    dual = DualModel(adapted, ClassHead(backbone.hidden_size(adapted), 2), tuning="lora")
    dual.is_packed = can_read(adapted)
    rows = [
        EncodedExample(
            str(row),
            [(7 * at + row) % 2900 + 50 for at in range(length)],
            [(11 * at + row) % 2900 + 50 for at in range(num_target)],
            row % 2,
            0,
            "free",
            length - 1,
        )
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
