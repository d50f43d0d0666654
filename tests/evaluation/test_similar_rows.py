"""Counts and intervals of rows with a like probability, against loops, scipy and the cluster bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clsgen.errors import ArtifactError, DataError
from clsgen.evaluation.intervals import Statistic, cluster_bootstrap, draw_groups
from clsgen.evaluation.similar_rows import share_of, similar_rows
from clsgen.model.similar import SimilarRows

LABELS = ("no", "yes")


def drawn(num_rows: int, *, num_in_group: int = 1, seed: int = 0):
    """Probabilities and labels; rows of a group lean the same way."""
    rng = np.random.default_rng(seed)
    positive = rng.random(num_rows)
    group = np.arange(num_rows) // num_in_group
    leaning = rng.normal(size=group.max() + 1)[group] if num_in_group > 1 else rng.normal(size=num_rows)
    label = (stats.norm.cdf(leaning) < positive).astype(int)
    return np.stack([1 - positive, positive], axis=1), label, group


@pytest.mark.parametrize("probability", [0.0, 0.03, 0.5, 0.497, 0.971, 1.0])
def test_counts_are_those_of_a_loop(probability):
    probs, label, group = drawn(400)
    found = similar_rows(probs, label, group, LABELS)
    for column, name in enumerate(LABELS):
        low, high = found.bounds(probability)
        rows = [n for n in range(400) if low - 1e-9 <= probs[n, column] <= high + 1e-9]
        around = found.around(name, probability)
        assert (around.num_rows, around.num_with_label) == (len(rows), sum(label[n] == column for n in rows))
    assert high - low == pytest.approx(
        0.1 - max(0, 0.05 - round(probability, 2)) - max(0, round(probability, 2) - 0.95)
    )


def test_rows_on_the_edge_of_a_window_are_in_it():
    found = similar_rows([[0.7, 0.3], [0.6, 0.4], [0.5, 0.5]], [0, 1, 1], [0, 1, 2], LABELS)
    assert found.around("yes", 0.35).num_rows == 2
    assert found.around("yes", 0.45).num_rows == 2
    assert found.bounds(0.41) == (0.36, 0.46)  # as people write them


@pytest.mark.parametrize(("num_label", "num_rows"), [(0, 9), (3, 9), (9, 9), (1, 1), (40, 100)])
def test_rows_on_their_own_have_wilsons_interval(num_label, num_rows):
    found = share_of(np.arange(num_rows) < num_label, np.arange(num_rows))
    wanted = stats.binomtest(num_label, num_rows).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_a_group_of_like_rows_counts_about_once():
    is_label = np.repeat(np.arange(40) < 12, 5)
    found = share_of(is_label, np.repeat(np.arange(40), 5))
    once = stats.binomtest(12, 40).proportion_ci(method="wilson")
    assert (found.num_rows, found.num_with_label) == (200, 60)
    assert (found.low, found.high) == pytest.approx((once.low, once.high), abs=0.01)


def test_groups_widen_it_as_the_cluster_bootstrap_says():
    probs, label, group = drawn(3000, num_in_group=6, seed=2)
    is_near = np.abs(probs[:, 1] - 0.5) <= 0.2
    label, group = label[is_near], group[is_near]
    found = share_of(label, group)
    share = Statistic(lambda weight: weight @ label / weight.sum(-1), np.arange(len(label)))
    wanted = cluster_bootstrap({"share": share}, draw_groups(group, label, num_draws=4000))["share"]
    alone = share_of(label, np.arange(len(label)))
    assert found.high - found.low == pytest.approx(wanted.high - wanted.low, rel=0.1)
    assert found.high - found.low > 1.15 * (alone.high - alone.low)


def test_where_there_is_no_row_there_is_no_interval():
    found = similar_rows([[0.9, 0.1]], [0], [0], LABELS)
    assert found.around("yes", 0.8) == (0, 0, None, None)


def test_it_survives_json_and_other_shapes_are_refused():
    found = similar_rows(*drawn(50), LABELS)
    record = found.to_json()
    assert SimilarRows.from_json(record) == found
    for broken in ({}, {**record, "windows": {"yes": []}}, {**record, "windows": 3}, {**record, "half_width": None}):
        with pytest.raises(ArtifactError, match="Calibrate again"):
            SimilarRows.from_json(broken)


def test_what_is_no_probability_is_refused():
    with pytest.raises(DataError, match="from 0 to 1"):
        similar_rows([[0.5, 1.5]], [0], [0], LABELS)
