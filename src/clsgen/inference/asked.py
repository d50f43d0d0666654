"""What is asked of a model and what becomes of a reason, whatever engine reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from clsgen.data.columns import is_unicode
from clsgen.data.template import ParsedExplanation
from clsgen.errors import DataError
from clsgen.types import Example, Explain, ExplanationMode, Prediction, TaskSpec

Text = str | Example


UNCERTAIN_MARGIN = 0.1
"""Rows this near the threshold are uncertain, unless another margin is asked for."""


class Predictor(Protocol):
    """Whatever gives predictions of texts: a `Classifier` here, or a client of a server."""

    @property
    def spec(self) -> TaskSpec:
        """The task."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the probabilities."""

    @property
    def uncertain_margin(self) -> float:
        """How near the threshold a row is that `explain="uncertain"` explains."""

    def check_options(
        self, *, explain: Explain = "none", mode: ExplanationMode = "free", prior: Sequence[float] | None = None
    ) -> None:
        """Refuse what doesn't suit the model, before any text is read."""

    def check_rows(self, rows: Sequence[Example]) -> None:
        """Refuse rows that can't be read, all of them, before any is."""

    def predict(
        self,
        texts: Sequence[Text],
        *,
        explain: Explain = "none",
        mode: ExplanationMode = "free",
        prior: Sequence[float] | None = None,
    ) -> list[Prediction]:
        """Predictions in the order of the texts."""


def as_examples(texts: Iterable[Text]) -> list[Example]:
    """Texts as examples.

    Raises:
        DataError: Not a plain sequence of texts, an empty text, or one that is no valid Unicode.
    """
    if isinstance(texts, str | bytes | Mapping) or hasattr(texts, "columns") or getattr(texts, "ndim", 1) != 1:
        raise DataError(
            f"texts must be a list of texts; got {'one string' if isinstance(texts, str) else type(texts).__name__}. "
            "Put it in a list, or pick the column."
        )
    examples = []
    for index, text in enumerate(texts):
        if not isinstance(text, str | Example):
            raise DataError(
                f"text {index} must be a string or an Example; got {type(text).__name__}. Convert it first."
            )
        example = text if isinstance(text, Example) else Example(str(index), str(text))
        if not example.document.strip():
            raise DataError(f"text {example.id}: a document must not be empty. Leave the row out.")
        if not is_unicode(example.document + example.question):
            raise DataError(f"text {example.id} must be valid Unicode; it holds half a surrogate pair. Decode it anew.")
        examples.append(example)
    return examples


def wants_reason(prediction: Prediction, explain: Explain, *, positive: str | None, margin: float) -> bool:
    """Whether a reason is to be written for a row.

    Args:
        prediction: Its probability and decision.
        explain: For which rows.
        positive: The positive label; None with more than two classes.
        margin: "uncertain" takes rows this near the threshold (two classes), or whose two largest probabilities are
            this near each other (more classes).
    """
    if explain in ("all", "none"):
        return explain == "all"
    if explain == "positive":
        return prediction.decision == positive
    if positive is not None and prediction.threshold is not None:
        return abs(prediction.probs[positive] - prediction.threshold) < margin
    largest, second = sorted(prediction.probs.values(), reverse=True)[:2]
    return largest - second < margin


def explained(
    prediction: Prediction, parsed: ParsedExplanation, mode: ExplanationMode, *, has_ended: bool
) -> Prediction:
    """The prediction with the reason that was written for it."""
    agreement = None if parsed.stated_label is None else parsed.stated_label == prediction.decision
    return replace(
        prediction,
        mode=mode,
        explanation=parsed.text,
        stated_label=parsed.stated_label,
        has_ended=has_ended,
        agreement=agreement,
    )
