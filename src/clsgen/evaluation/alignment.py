"""Agreement between what the class head says and what the explanation states. Free mode only.

In decision mode the text is told the head's decision, so that these would be perfect by construction.
`stated` holds the class index that each explanation states; explanations that state none are left out by the
caller and counted as unparsed, never taken for a label. Shapes and weights are as in metrics.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from clsgen.errors import DataError
from clsgen.evaluation.arrays import FloatArray, checked
from clsgen.evaluation.decisions import accuracy, cohen_kappa
from clsgen.evaluation.metrics import auroc


class RliBounds(NamedTuple):
    """RLI over all explanations, if those that state no label all agreed, or all disagreed, with the head."""

    all_agree: float
    all_disagree: float


def auroc_alignment(prob: ArrayLike, stated: ArrayLike, *, weight: ArrayLike | None = None) -> FloatArray:
    """AUROC of the head's calibrated probability against the label that the explanation states.

    Args:
        prob: (N,) of the positive label, or (N, C).
        stated: (N,) class index stated; 0 or 1 beside (N,).
        weight: (..., N) row weights.

    Returns:
        With (N, C) the mean of the one-vs-rest areas over the classes that are stated at all; NaN where fewer
        than two are, in the rows or, under a weight, in a draw. Higher is better, ties count one half.

    Raises:
        DataError: NaN or an impossible value in either.

    The explanation of the 0.9 and the 0.6 say positive, that of the 0.7 says negative: 1 of 2 pairs in order.

    >>> float(auroc_alignment([0.9, 0.7, 0.6], [1, 0, 1]))
    0.5
    """
    data = checked("auroc_alignment", prob, stated, weight)
    if data.prob.ndim == 1:
        return auroc(data.prob, data.label, weight=data.weight)
    classes = np.unique(data.label)
    each = [auroc(data.prob[:, c], data.label == c, weight=data.weight) for c in classes]
    if len(each) < 2:
        return np.full(data.weight.shape[:-1], np.nan)
    return np.asarray(np.mean(each, axis=0))


def rli(decided: ArrayLike, stated: ArrayLike, *, num_classes: int, weight: ArrayLike | None = None) -> FloatArray:
    """Reason-label inconsistency: share of explanations whose stated label differs from the head's decision.

    Lower is better; empty input: NaN. At a low prevalence a small RLI can hide a poor kappa: read both.

    >>> float(rli([1, 1, 0, 0], [1, 0, 0, 0], num_classes=2))
    0.25
    """
    return np.asarray(1 - accuracy(stated, decided, num_classes=num_classes, weight=weight))


def r_lkappa(decided: ArrayLike, stated: ArrayLike, *, num_classes: int, weight: ArrayLike | None = None) -> FloatArray:
    """Cohen's kappa between the head's decision and the stated label, 1 - RLI / (1 - p_e).

    Higher is better; NaN where both say one and the same label throughout, and for empty input.

    RLI 1/4, margins (1/2, 1/2) and (3/4, 1/4): p_e = 1/2, kappa = 1 - (1/4) / (1/2).

    >>> float(r_lkappa([1, 1, 0, 0], [1, 0, 0, 0], num_classes=2))
    0.5
    """
    return cohen_kappa(decided, stated, num_classes=num_classes, weight=weight)


def rli_bounds(num_disagreeing: int, num_parsed: int, num_unparsed: int) -> RliBounds:
    """Gives what RLI could be, had every explanation stated a label; NaN without explanations.

    >>> rli_bounds(2, 8, 2)
    RliBounds(all_agree=0.2, all_disagree=0.4)

    Raises:
        DataError: A count is below 0, or more disagree than were parsed.
    """
    if not (0 <= num_disagreeing <= num_parsed and num_unparsed >= 0):
        raise DataError(
            "rli_bounds: counts must be 0 <= disagreeing <= parsed, 0 <= unparsed; "
            f"got {num_disagreeing}, {num_parsed}, {num_unparsed}."
        )
    total = num_parsed + num_unparsed
    if total == 0:
        return RliBounds(float("nan"), float("nan"))
    return RliBounds(num_disagreeing / total, (num_disagreeing + num_unparsed) / total)
