"""Evidence removal: what a probability is without the sentences that the reason quotes, and without others like them.

A reason that quotes what the probability rests on makes the probability move when the quoted sentences are cut, more
than when other sentences of like length and place are. Inference writes the perturbed probabilities; evaluation reads
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from clsgen.data.explanations import quote_spans, quotes
from clsgen.data.sentences import Span, sentence_spans
from clsgen.inference.predictor import Classifier
from clsgen.types import Example, Prediction

NUM_CONTROLS = 10
"""Draws of other sentences for each row."""
_NEAREST_SHARE = 0.5
"""A control sentence is drawn among this share of the other sentences, those nearest in length and place."""


class Variants(NamedTuple):
    """A document without the quoted sentences, and without other sentences, as often as drawn."""

    without_evidence: str
    controls: tuple[str, ...]


def variants(
    document: str, explanation: str, rng: np.random.Generator, *, num_controls: int = NUM_CONTROLS
) -> Variants | str:
    """The document with sentences cut; or why there are none: no_quote, not_in_document, no_other_sentence.

    Each quoted sentence has a stand-in in every control, drawn among the half of the other sentences that is nearest to
    it in place and length; no sentence is cut twice.

    Args:
        document: What was read.
        explanation: What was written.
        rng: Source of the draws.
        num_controls: Draws.
    """
    quoted = quotes(explanation)
    if not quoted:
        return "no_quote"
    spans = sentence_spans(document)
    evidence = sorted({index for quote in quoted for index in _holding(document, spans, quote)})
    if not evidence:
        return "not_in_document"
    others = [index for index in range(len(spans)) if index not in evidence]
    if len(others) <= len(evidence):
        return "no_other_sentence"
    controls = tuple(_without(document, spans, _stand_ins(spans, evidence, others, rng)) for _ in range(num_controls))
    return Variants(_without(document, spans, evidence), controls)


def perturbed_records(
    classifier: Classifier, examples: Sequence[Example], predictions: Sequence[Prediction], *, seed: int = 0
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Probabilities of the decided label with sentences cut, for rows whose reason quotes the document.

    Args:
        classifier: The model that made the predictions.
        examples: The rows.
        predictions: What it said of them, with reasons.
        seed: Of the draws.

    Returns:
        Records of `id`, `decision`, `prob` (whole document), `without_evidence` and `controls`; and reason -> number of
        rows that have none.
    """
    of = {example.id: example for example in examples}
    texts: list[Example] = []
    places: list[tuple[str, int]] = []
    skipped: Counter[str] = Counter()
    for row in predictions:
        example = of[row.id]
        rng = np.random.default_rng([seed, *row.id.encode()])
        found = "no_explanation" if row.explanation is None else variants(example.document, row.explanation, rng)
        if isinstance(found, str):
            skipped[found] += 1
            continue
        documents = (found.without_evidence, *found.controls)
        texts += [replace(example, document=document) for document in documents]
        places += [(row.id, place) for place in range(len(documents))]
    probs_NC = classifier.predict_proba(texts) if texts else np.zeros((0, len(classifier.labels)))
    return _records(classifier, predictions, places, probs_NC), dict(skipped)


def _records(
    classifier: Classifier, predictions: Sequence[Prediction], places: Sequence[tuple[str, int]], probs_NC: Any
) -> list[dict[str, Any]]:
    column = {label: index for index, label in enumerate(classifier.labels)}
    by_id: Mapping[str, Prediction] = {row.id: row for row in predictions}
    found: dict[str, list[float]] = {}
    for (id_, _), probs in zip(places, probs_NC, strict=True):
        found.setdefault(id_, []).append(float(probs[column[by_id[id_].decision]]))
    return [
        {
            "id": id_,
            "decision": by_id[id_].decision,
            "prob": by_id[id_].probs[by_id[id_].decision],
            "without_evidence": probs[0],
            "controls": probs[1:],
        }
        for id_, probs in found.items()
    ]


def _holding(document: str, spans: Sequence[Span], quote: str) -> list[int]:
    """Sentences that a quote stands in, wholly or partly; letter case and white space aside."""
    matches = quote_spans(quote, document)
    return [
        index
        for index, span in enumerate(spans)
        if any(start < span.end and end > span.start for start, end in matches)
    ]


def _stand_ins(
    spans: Sequence[Span], evidence: Sequence[int], others: Sequence[int], rng: np.random.Generator
) -> list[int]:
    """One other sentence for each of the evidence, none twice."""
    left = list(others)
    chosen = []
    for index in evidence:
        length = spans[index].end - spans[index].start
        apart = [
            abs(other - index) / len(spans) + abs(np.log((spans[other].end - spans[other].start) / length))
            for other in left
        ]
        num_near = max(1, int(np.ceil(_NEAREST_SHARE * len(left))))
        near = np.argsort(apart, kind="stable")[:num_near]
        chosen.append(left.pop(int(rng.choice(near))))
    return chosen


def _without(document: str, spans: Sequence[Span], cut: Sequence[int]) -> str:
    """The document without some sentences, and without the white space that parted them from what follows."""
    kept, start = [], 0
    for index in sorted(cut):
        end = spans[index + 1].start if index + 1 < len(spans) else len(document)
        kept.append(document[start : spans[index].start])
        start = end
    return "".join([*kept, document[start:]]).strip()
