"""Evidence removal, judged: how much more the quoted sentences move the probability than others like them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clsgen.config.prediction import EvaluateSettings
from clsgen.errors import DataError
from clsgen.evaluation.arrays import FloatArray, IntArray, weighted_mean
from clsgen.evaluation.intervals import Statistic, draw_groups
from clsgen.evaluation.measures import Measure, entries

_DEFINITIONS = {
    "evidence_removal": "Drop of the decided label's probability when the quoted sentences are cut, less the mean "
    "drop when other sentences of like length and place are; mean over rows whose quotes stand in the document. "
    "Above 0: the reason quotes what the probability rests on.",
    "evidence_drop": "Drop of the decided label's probability when the quoted sentences are cut.",
    "control_drop": "Mean drop of the same when other sentences are cut, over the draws.",
}


def evidence_figures(
    records: Sequence[Mapping[str, Any]],
    groups: Mapping[str, str],
    skipped: Mapping[str, int],
    *,
    settings: EvaluateSettings,
) -> dict[str, Any]:
    """What evidence.json holds: the figures with intervals by group, and the rows that have none, by reason.

    Args:
        records: What `inference.perturb` wrote.
        groups: Group of each row by id.
        skipped: Reason -> rows without a record.
        settings: Draws, confidence, seed.

    Raises:
        DataError: A record without controls.
    """
    bare = [record["id"] for record in records if not record["controls"]]
    if bare:
        raise DataError(f"evidence: controls must be there in every record; got none for {bare[0]!r}.")
    prob, without = (np.array([record[name] for record in records]) for name in ("prob", "without_evidence"))
    control = np.array([np.mean(record["controls"]) for record in records])
    values = {"evidence_removal": control - without, "evidence_drop": prob - without, "control_drop": prob - control}
    rows = np.arange(len(records))
    group = np.array([groups.get(record["id"], f"row:{record['id']}") for record in records], dtype=str)
    draws = draw_groups(group, np.zeros(len(rows)), num_draws=settings.num_bootstrap, seed=settings.seed)
    measures = {
        name: Measure(_DEFINITIONS[name], _mean(value, rows), reason="no quote stands in its document")
        for name, value in values.items()
    }
    return {
        "figures": entries(measures, draws, confidence=settings.confidence),
        "num_rows": len(records),
        "num_skipped": dict(skipped),
        "num_controls": max((len(record["controls"]) for record in records), default=0),
    }


def _mean(value: FloatArray, rows: IntArray) -> Statistic:
    return Statistic(lambda weight: weighted_mean(value, weight), rows)
