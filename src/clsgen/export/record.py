"""What stands beside a folded model: all that a client needs and a stock server does not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsgen.artifacts import MANIFEST, read_manifest, read_record, sha256_of, write_json_atomic
from clsgen.data.template import Template
from clsgen.errors import ArtifactError
from clsgen.model.calibrator import Calibrator
from clsgen.model.decision import DecisionRule
from clsgen.types import TaskSpec

FORMAT = 1
FILE = "folded.json"


@dataclass(frozen=True, slots=True)
class FoldedRecord:
    """How to ask a folded model, and how to read its answer.

    Attributes:
        spec: The task.
        template: The frozen rendering.
        class_ids: Id of each label, in the order of the labels; never written, never part of a prompt.
        class_tokens: Their texts, by which some servers name them.
        free_banned_ids: Banned while a free explanation is written from the decision position on, so that it begins as
            one; empty where that can't be had.
        calibrator: Its slopes are 1: the fitted ones are in the weights.
        rule: Probabilities to a decision.
        has_explanations: Whether the language head was trained to explain.
    """

    spec: TaskSpec
    template: Template
    class_ids: tuple[int, ...]
    class_tokens: tuple[str, ...]
    free_banned_ids: tuple[int, ...]
    calibrator: Calibrator
    rule: DecisionRule
    has_explanations: bool

    def save(self, folder: Path) -> None:
        """Write folded.json."""
        record = {
            "format": FORMAT,
            "spec": self.spec.to_record(),
            "template": self.template.to_json(),
            "class_ids": list(self.class_ids),
            "class_tokens": list(self.class_tokens),
            "free_banned_ids": list(self.free_banned_ids),
            "calibrator": self.calibrator.to_json(),
            "rule": self.rule.to_json(),
            "has_explanations": self.has_explanations,
        }
        write_json_atomic(folder / FILE, record)

    @classmethod
    def load(cls, folder: Path) -> FoldedRecord:
        """Read folded.json.

        Raises:
            ArtifactError: It is missing, broken, or of another format.
        """
        if not (folder / FILE).is_file():
            raise ArtifactError(
                f"{folder} must be a folded export ({FILE}); it is not. Make one: clsgen export RUN --format folded"
            )
        if (folder / MANIFEST).is_file() and read_manifest(folder).get(FILE) != sha256_of(folder / FILE):
            raise ArtifactError(f"{folder / FILE}: it must be as it was exported; it was altered. Export again.")
        record: Mapping[str, Any] = read_record(folder / FILE)
        if record.get("format") != FORMAT:
            raise ArtifactError(f"{FILE}: format must be {FORMAT}; got {record.get('format')!r}. Export again.")
        try:
            found = cls(
                spec=TaskSpec.from_record(record["spec"]),
                template=Template.from_json(record["template"]),
                class_ids=tuple(record["class_ids"]),
                class_tokens=tuple(record["class_tokens"]),
                free_banned_ids=tuple(record["free_banned_ids"]),
                calibrator=Calibrator.from_json(record["calibrator"]),
                rule=DecisionRule.from_json(record["rule"]),
                has_explanations=record["has_explanations"],
            )
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{FILE}: its fields must be those of a folded model; {error}. Export again.") from None
        if not len(found.class_ids) == len(found.class_tokens) == len(found.spec.labels):
            raise ArtifactError(f"{FILE}: each label must have an id and its text; it has not. Export again.")
        return found
