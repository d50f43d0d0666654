"""The probability that a text states: how likely each whole label is after the model's own reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from clsgen.inference.likelihood import answer_likelihoods
from clsgen.model.checkpoint import Bundle
from clsgen.types import Example


def label_logits(bundle: Bundle, rows: Sequence[Example], reasons: Mapping[str, str]) -> NDArray[np.float64]:
    """Log-likelihood of each label, with its end, after each row's own reason, up to a constant of the row: (N, C).

    The whole target is scored, reason and all: the reason is the same beside every label, so that a softmax over the
    labels sees the labels alone. A reason too long to leave room for the label is cut.

    Args:
        bundle: A model that was tuned to explain.
        rows: What was asked about.
        reasons: The reason that the model wrote, by id of the row.
    """
    prompts = [bundle.renderer.prompt(row.document, row.question) for row in rows]
    targets = [_targets(bundle, reasons[row.id]) for row in rows]
    found = answer_likelihoods(bundle.model, prompts, targets, pad_id=bundle.pad_id)
    return np.array(found).reshape(len(rows), bundle.spec.num_labels)


def _targets(bundle: Bundle, reason: str) -> list[list[int]]:
    """Ids of the reason with each label; the reason loses words at its end until all fit."""
    words = reason.split(" ")
    while True:
        targets = [bundle.renderer.target(" ".join(words), label, "free") for label in bundle.spec.labels]
        found = [ids for ids in targets if ids is not None]
        if len(found) == len(targets):
            return found
        words = words[: len(words) * 9 // 10]
