"""The run directory: where each stage leaves what the next one reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clsgen.artifacts import sha256_of, write_json_atomic
from clsgen.config.load import load_config
from clsgen.config.run import RunConfig
from clsgen.data.source import load_examples, write_examples
from clsgen.errors import ArtifactError
from clsgen.pipeline.model_folder import ModelFolder
from clsgen.types import ROLES, Example, Role, TaskSpec

GROUPS_FILE = "groups.json"
"""Beside the rows of the roles: which of them are tied together."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run, and its rows by role."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The resolved settings."""
        return self.path / "config.yaml"

    @property
    def model(self) -> Path:
        """The model directory."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints, for resuming alone."""
        return self.path / "checkpoints"

    @property
    def predictions(self) -> Path:
        """Predictions on the test role."""
        return self.path / "predictions.jsonl"

    @property
    def metrics(self) -> Path:
        """What the predictions are worth."""
        return self.path / "metrics.json"

    @property
    def manifest(self) -> Path:
        """Seeds, versions, hashes of the inputs, counts of rows left out."""
        return self.path / "manifest.json"

    @property
    def lock(self) -> Path:
        """Held by the process that trains."""
        return self.path / "lock"

    def data(self, role: Role) -> Path:
        """The rows of a role."""
        return self.path / "data" / f"{role}.jsonl"

    def config(self) -> RunConfig:
        """The settings of the run.

        Raises:
            ArtifactError: This is no run directory.
        """
        if not self.config_file.is_file():
            raise ArtifactError(f"{self.path} must be a run directory (config.yaml); it is not. Train one first.")
        return load_config(self.config_file)

    def spec(self) -> TaskSpec:
        """The task, as its model records it.

        Raises:
            ArtifactError: There is no model.
        """
        if not (self.model / "clsgen.json").is_file():
            raise ArtifactError(f"{self.path} must be a trained run (model/clsgen.json); it is not. Train it first.")
        return ModelFolder(self.model).spec()

    def write_rows(
        self, roles: Mapping[Role, tuple[Example, ...]], groups: Mapping[str, str], *, is_restricted: bool
    ) -> dict[str, str]:
        """Write every role's rows; returns role -> SHA-256 of its file."""
        (self.path / "data").mkdir(parents=True, exist_ok=True)
        for role in ROLES:
            write_examples(self.data(role), roles[role], is_restricted=is_restricted)
        write_json_atomic(self.path / "data" / GROUPS_FILE, dict(groups), is_private=is_restricted)
        return {role: sha256_of(self.data(role)) for role in ROLES}

    def rows(self, role: Role) -> list[Example]:
        """The rows of a role, as the run saw them."""
        return list(load_examples(self.data(role)))

    def groups(self) -> dict[str, str]:
        """Example id -> connected component."""
        found: dict[str, str] = json.loads((self.path / "data" / GROUPS_FILE).read_text(encoding="utf-8"))
        return found
