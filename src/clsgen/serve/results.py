"""From predictions to what goes over the wire."""

from __future__ import annotations

from typing import Any

from clsgen.data.explanations import quote_spans, quotes
from clsgen.model.similar import SimilarRows
from clsgen.serve.schemas import ExplainedResult, Quote, Result
from clsgen.serve.schemas import SimilarRows as SimilarResult
from clsgen.types import Prediction


class Results:
    """Makes the results of one model.

    Args:
        positive: The positive label; None with more than two.
        similar: What became of calibration rows of like probability; None: not known.
    """

    def __init__(self, positive: str | None, similar: SimilarRows | None) -> None:
        self._positive, self._similar = positive, similar

    def plain(self, prediction: Prediction | None) -> Result:
        """Probability and decision."""
        return Result(**self._fields(prediction))

    def explained(self, prediction: Prediction | None, document: str) -> ExplainedResult:
        """The same with the reason, and where its quotes stand in the document."""
        assert prediction is not None
        reason = prediction.explanation or ""
        spans = sorted({span for quote in quotes(reason) for span in quote_spans(quote, document)})
        return ExplainedResult(
            **self._fields(prediction),
            mode=prediction.mode or "free",
            explanation=reason,
            stated_label=prediction.stated_label,
            agreement=prediction.agreement,
            has_ended=bool(prediction.has_ended),
            quotes=[Quote(start=start, end=end) for start, end in spans],
        )

    def _fields(self, prediction: Prediction | None) -> dict[str, Any]:
        assert prediction is not None
        return {
            "id": prediction.id,
            "probabilities": dict(prediction.probs),
            "decision": prediction.decision,
            "threshold": prediction.threshold,
            "label_set": None if prediction.label_set is None else list(prediction.label_set),
            "abstained": prediction.abstained,
            "num_document_tokens_cut": prediction.num_document_tokens_cut,
            "similar": self._around(prediction),
        }

    def _around(self, prediction: Prediction) -> SimilarResult | None:
        if self._similar is None:
            return None
        label = self._positive or prediction.decision
        probability = prediction.probs[label]
        found, (low, high) = self._similar.around(label, probability), self._similar.bounds(probability)
        return SimilarResult(label=label, from_probability=low, to_probability=high, **found._asdict())
