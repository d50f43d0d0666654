"""Risk and coverage: how wrong a model is on the rows that it keeps when it leaves the least sure ones to a person.

El-Yaniv and Wiener (2010), JMLR 11; Geifman et al. (2019), ICLR (the area under the curve).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from clsgen.errors import DataError
from clsgen.evaluation.arrays import FloatArray, checked_label, ratio


class RiskCoverage(NamedTuple):
    """One point for each distinct confidence, surest first.

    Attributes:
        coverage: (D,) share of rows kept, ascending to 1.
        risk: (D,) share of the kept rows that are decided wrongly.
        confidence: (D,) of the least sure row kept.
    """

    coverage: FloatArray
    risk: FloatArray
    confidence: FloatArray


def risk_coverage(confidence: ArrayLike, decided: ArrayLike, label: ArrayLike, *, num_classes: int = 2) -> RiskCoverage:
    """The curve; rows of equal confidence are kept together, so their order is nothing.

    Args:
        confidence: (N,) how sure the decision is, such as the largest probability or the distance to the threshold.
        decided: (N,) class indices.
        label: (N,) class indices.
        num_classes: Number of classes, C.

    Raises:
        DataError: Lengths differ, or a value can't be used.

    The surest row is right, one of the next two is wrong:

    >>> curve = risk_coverage([0.9, 0.7, 0.7], [1, 1, 0], [1, 0, 0])
    >>> curve.coverage.round(3).tolist(), curve.risk.round(3).tolist()
    ([0.333, 1.0], [0.0, 0.333])
    """
    sure_N = np.asarray(confidence, dtype=np.float64)
    decided_N = checked_label("risk_coverage", decided, num_classes=num_classes)
    label_N = checked_label("risk_coverage", label, num_classes=num_classes)
    if not len(sure_N) == len(decided_N) == len(label_N):
        raise DataError(
            "risk_coverage: confidence, decided and label must be of one length; "
            f"got {len(sure_N)}, {len(decided_N)} and {len(label_N)}."
        )
    if not np.isfinite(sure_N).all():
        raise DataError("risk_coverage: confidence must be finite; it is not in some row. Repair the row.")
    order = np.argsort(-sure_N, kind="stable")
    is_last = np.append(np.diff(sure_N[order]) != 0, True)[: len(order)]
    num_kept = np.arange(1, len(order) + 1)
    num_wrong = np.cumsum(decided_N[order] != label_N[order])
    return RiskCoverage(
        (num_kept / max(1, len(order)))[is_last], (num_wrong / num_kept)[is_last], sure_N[order][is_last]
    )


def area_under_risk(curve: RiskCoverage) -> float:
    """Mean risk over coverage, each step at its own risk; lower is better. NaN without a row.

    >>> round(area_under_risk(risk_coverage([0.9, 0.7, 0.7], [1, 1, 0], [1, 0, 0])), 4)
    0.2222
    """
    widths = np.diff(curve.coverage, prepend=0.0)
    return float(ratio((widths * curve.risk).sum(), widths.sum()))
