"""The measures of what is left undecided: how often, how good the rest is, and whether sets keep their promise."""

from __future__ import annotations

import numpy as np

from clsgen.evaluation.arrays import FloatArray, ratio, weighted_mean
from clsgen.evaluation.intervals import Statistic
from clsgen.evaluation.measures import Measure
from clsgen.evaluation.table import Table

_DEFINITIONS = {
    "abstained_share": "Share of rows left undecided: those whose set of labels is not the decided label alone.",
    "accuracy_decided": "Share of the rows that are decided whose decision is the label.",
    "set_coverage": "Share of rows whose label is in their set. Conformal sets promise a share; a band promises none. "
    "by_label: the same among the rows of each label.",
    "set_size": "Mean number of labels in a row's set.",
}


def abstention_measures(table: Table) -> dict[str, Measure]:
    """Gives the measures of a model that may abstain; none where rows have no sets."""
    if table.set_NC is None:
        return {}
    size_N = table.set_NC.sum(1).astype(np.float64)
    is_decided_alone = (size_N == 1) & table.set_NC[np.arange(len(size_N)), table.decided_N]
    labelled = np.flatnonzero(table.label_N >= 0)
    label_n = table.label_N[labelled]
    is_held = table.set_NC[labelled, label_n].astype(np.float64)
    is_kept = is_decided_alone[labelled].astype(np.float64)
    is_right = is_kept * (table.decided_N[labelled] == label_n)
    every = np.arange(len(size_N))
    by_label = {label: _share(is_held[label_n == c]) for c, label in enumerate(table.spec.labels)}
    unlabelled = "no row has a label"

    def accuracy_decided(weight: FloatArray) -> FloatArray:
        return ratio(weight @ is_right, weight @ is_kept)

    return {
        "abstained_share": Measure(
            _DEFINITIONS["abstained_share"], Statistic(lambda w: weighted_mean(1.0 - is_decided_alone, w), every)
        ),
        "accuracy_decided": Measure(
            _DEFINITIONS["accuracy_decided"], Statistic(accuracy_decided, labelled), reason="no labelled row is decided"
        ),
        "set_coverage": Measure(
            _DEFINITIONS["set_coverage"],
            Statistic(lambda w: weighted_mean(is_held, w), labelled),
            reason=unlabelled,
            extra={"by_label": by_label},
        ),
        "set_size": Measure(_DEFINITIONS["set_size"], Statistic(lambda w: weighted_mean(size_N, w), every)),
    }


def _share(is_held: FloatArray) -> float | None:
    return float(is_held.mean()) if len(is_held) else None
