"""The explanations that a teacher made, found again when a run is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clsgen.config.run import RunConfig
from clsgen.data.formats import read_json_lines
from clsgen.errors import ArtifactError
from clsgen.types import Example

EXPLANATIONS = "explanations.jsonl"


def teacher_folder(config: RunConfig) -> Path:
    """Where the teacher's files of a run are."""
    return Path(config.output) / "teacher" if config.teacher.folder is None else Path(config.teacher.folder)


def row_hash(example: Example) -> str:
    """Hash of what an explanation was written for: document, question and label."""
    parts = [example.document, example.question, example.label]
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()


def read_explanations(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Example id -> record of explanations.jsonl.

    Raises:
        ArtifactError: There is none yet.
    """
    path = teacher_folder(config) / EXPLANATIONS
    if not path.is_file():
        raise ArtifactError(
            f"{path}: data.explanations: teacher needs the explanations of `clsgen synth`; there are none. "
            "Run it with the same configuration first."
        )
    return {str(record["id"]): dict(record) for _, record in read_json_lines(path)}


def with_explanations(config: RunConfig, examples: Sequence[Example]) -> tuple[Example, ...]:
    """The rows with the teacher's explanations in place of any of their own; those without one have none.

    Raises:
        ArtifactError: An explanation was written for another text or label than the row has now.
    """
    records = read_explanations(config)
    found = []
    for example in examples:
        record = records.get(example.id)
        if record is not None and record["row_hash"] != row_hash(example):
            raise ArtifactError(
                f"{EXPLANATIONS}: row {example.id!r} must be the one that was explained; its text or label has "
                "changed since. Run `clsgen synth` again: only what changed is asked."
            )
        metadata = example.metadata if record is None else {**example.metadata, "explanation_source": record["source"]}
        found.append(replace(example, explanation=None if record is None else record["explanation"], metadata=metadata))
    return tuple(found)
