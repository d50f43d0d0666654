"""Prefix filtering finds what comparing all pairs finds."""

from __future__ import annotations

import random

import numpy as np
import pytest

from clsgen.data.near_duplicates import Match, ShingleIndex


def _sets(num_sets: int, seed: int) -> list[set[int]]:
    """Families of sets that differ in a few members, with some members common to nearly all sets."""
    draw = random.Random(seed)
    found = []
    for _ in range(num_sets // 4):
        seed_set = {draw.randrange(5000) for _ in range(draw.randint(1, 40))} | {9001, 9002, 9003}
        for _ in range(4):
            kept = {each for each in seed_set if draw.random() > 0.08}
            found.append(kept | {draw.randrange(5000) for _ in range(draw.randint(0, 3))})
    return found


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_as_all_pairs(threshold: float, seed: int) -> None:
    sets = _sets(400, seed)
    index = ShingleIndex([np.array(sorted(each), dtype=np.uint64) for each in sets], threshold=threshold)
    documents, others = range(0, 400, 2), range(1, 400, 2)
    expected = {}
    for document in documents:
        nearest = max(len(sets[document] & sets[other]) / max(len(sets[document] | sets[other]), 1) for other in others)
        if nearest >= threshold:
            expected[document] = nearest
    found = index.matches(documents, others)
    assert expected
    assert {match.document: match.jaccard for match in found} == pytest.approx(expected)
    for match in found:
        shared = len(sets[match.document] & sets[match.other]) / len(sets[match.document] | sets[match.other])
        assert match.jaccard == pytest.approx(shared)


def test_the_threshold_itself_counts() -> None:
    sets = [np.arange(15, dtype=np.uint64), np.arange(12, dtype=np.uint64)]
    assert ShingleIndex(sets, threshold=0.8).matches([1], [0]) == [Match(1, 0, pytest.approx(0.8))]
    assert ShingleIndex(sets, threshold=0.81).matches([1], [0]) == []


def test_empty_documents_and_roles_match_nothing() -> None:
    empty = np.zeros(0, dtype=np.uint64)
    index = ShingleIndex([empty, empty, np.array([1], dtype=np.uint64)], threshold=0.8)
    assert index.matches([0], [1, 2]) == []
    assert index.matches([], [1]) == index.matches([1], []) == []
    assert ShingleIndex([empty], threshold=0.8).matches([0], []) == []
