"""A model directory as those see it who load no weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsgen.artifacts import MANIFEST, model_record, read_record
from clsgen.config.data import ColumnSettings
from clsgen.config.load import load_config
from clsgen.data.source import columns_there
from clsgen.types import TaskSpec

_FITTED_LATER = ("calibrator.json", "decision.json", "similar.json", "README.md")
"""Files that a calibration replaces; the logits are the same before and after it."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model directory."""

    path: Path

    def record(self, name: str) -> dict[str, Any]:
        """One of its JSON files.

        Raises:
            ArtifactError: It is missing or broken.
        """
        return read_record(self.path / name)

    def spec(self) -> TaskSpec:
        """The task.

        Raises:
            ArtifactError: This is no model directory.
        """
        return TaskSpec.from_record(model_record(self.path)["spec"])

    def weights_sha256(self) -> str:
        """Equal where the same texts get the same class logits, however they are calibrated."""
        digests = self.record(MANIFEST)
        kept = sorted(f"{name} {digest}\n" for name, digest in digests.items() if name not in _FITTED_LATER)
        return hashlib.sha256("".join(kept).encode()).hexdigest()


def columns_of(model: Path, source: str) -> ColumnSettings:
    """Where a model's run found text, question, label and id; the default mapping where no run is beside it.

    New rows need no explanation, so that column is not asked for, and no groups: of the columns that tie rows together
    those count that the source has.

    Args:
        model: The model directory.
        source: The new rows.

    Raises:
        DataError: The source can't be read.
    """
    config_file = model.resolve().parent / "config.yaml"
    columns = ColumnSettings()
    if config_file.is_file():
        data = load_config(config_file).data
        columns = data.columns
        if data.question is not None:
            columns = columns.model_copy(update={"label": data.questions[data.question].label})
    return columns.model_copy(update={"explanation": None, "group": columns_there(source, columns.group)})
