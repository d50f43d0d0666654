"""What a report is made of: the files of a run, read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clsgen.types import Example, Prediction, TaskSpec


@dataclass(frozen=True, slots=True)
class Results:
    """The results of one run.

    Attributes:
        name: Name of the run directory.
        spec: The task.
        predictions: Of the test rows.
        test: The test rows.
        metrics: What metrics.json holds.
        manifest: What the run's manifest.json holds.
        settings: The resolved configuration.
        model: base, tuning, calibrator and decision rule, as the model directory records them.
        comparison: What comparison.json holds; None: no baseline was run.
        review: What review.json holds; None: nobody reviewed it.
        more: Figures of the explanations from evidence.json and judge.json, by name; {} where there are none.
        stale: Files of such figures that are of earlier predictions and left out.
        shows_text: Whether documents and reasons may stand in the report.
    """

    name: str
    spec: TaskSpec
    predictions: Sequence[Prediction]
    test: Sequence[Example]
    metrics: Mapping[str, Any]
    manifest: Mapping[str, Any]
    settings: Mapping[str, Any]
    model: Mapping[str, Any]
    comparison: Mapping[str, Any] | None
    review: Mapping[str, Any] | None
    more: Mapping[str, Any]
    stale: tuple[str, ...]
    shows_text: bool

    def figure(self, name: str) -> Mapping[str, Any]:
        """A figure of the probability, the decision or the explanations, whichever has the name; {} if none has."""
        found: Mapping[str, Any] = self.metrics["metrics"].get(name) or self.metrics["explanations"].get(name) or {}
        return found

    def value(self, name: str) -> float | None:
        """Its value; None where it is undefined or absent."""
        value: float | None = self.figure(name).get("value")
        return value
