"""Agreement of reviewers against published examples and loops over pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsgen.errors import DataError
from clsgen.evaluation.agreement import fleiss_kappa, krippendorff_alpha
from clsgen.evaluation.decisions import cohen_kappa

# Ten items, fourteen reviewers, five categories: the worked example that goes with Fleiss (1971).
FLEISS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip
# Krippendorff (2011), section C: four observers, twelve units, values missing; nominal alpha 0.743.
KRIPPENDORFF = [
    ["1", "2", "3", "3", "2", "1", "4", "1", "2", ".", ".", "."],
    ["1", "2", "3", "3", "2", "2", "4", "1", "2", "5", ".", "3"],
    [".", "3", "3", "3", "2", "3", "4", "2", "2", "5", "1", "."],
    ["1", "2", "3", "3", "2", "4", "4", "1", "2", "5", "1", "."],
]


def counts_of(answers):
    """Items by category; `answers` is a list of columns, "." where nothing was answered."""
    values = sorted({value for column in answers for value in column} - {"."})
    return [[column.count(value) for value in values] for column in zip(*answers, strict=True)]


def alpha_by_pairs(counts):
    """Share of pairs within items that differ, over the share of all pairs that do."""
    items = [[c for c, number in enumerate(row) for _ in range(int(number))] for row in counts]
    items = [each for each in items if len(each) > 1]
    within = sum(2 * sum(a != b for a, b in combinations(each, 2)) / (len(each) - 1) for each in items)
    pool = [value for each in items for value in each]
    between = 2 * sum(a != b for a, b in combinations(pool, 2)) / (len(pool) - 1)
    return 1 - within / between


def test_the_published_examples():
    assert float(fleiss_kappa(FLEISS)) == pytest.approx(0.210, abs=5e-4)
    assert float(krippendorff_alpha(counts_of(KRIPPENDORFF))) == pytest.approx(0.743, abs=5e-4)


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=2, max_size=12))
def test_alpha_is_that_of_all_pairs(counts):
    pool = np.sum([row for row in counts if sum(row) > 1] or [[0, 0, 0]], axis=0)
    found = float(krippendorff_alpha(counts))
    if (pool > 0).sum() < 2:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(alpha_by_pairs(counts), abs=1e-9)


def test_weights_are_copies():
    rng = np.random.default_rng(0)
    counts = rng.multinomial(3, [0.5, 0.3, 0.2], size=20)
    weight = rng.integers(0, 4, size=(5, 20))
    for figure in (fleiss_kappa, krippendorff_alpha):
        copies = [float(figure(np.repeat(counts, row, axis=0))) for row in weight]
        assert figure(counts, weight) == pytest.approx(np.array(copies), abs=1e-12)


def test_two_reviewers_with_like_margins_agree_as_cohen_says():
    first, second = np.array([0, 1] * 10), np.array([0, 1] * 8 + [1, 0] * 2)
    counts = np.stack([(first == c).astype(int) + (second == c) for c in (0, 1)], axis=1)
    assert float(fleiss_kappa(counts)) == pytest.approx(float(cohen_kappa(first, second, num_classes=2)))


def test_what_is_undefined_is_no_number():
    for figure in (fleiss_kappa, krippendorff_alpha):
        assert np.isnan(figure(np.zeros((0, 2))))
        assert np.isnan(figure([[3, 0], [3, 0]]))
    assert np.isnan(krippendorff_alpha([[1, 0], [0, 1]]))


@pytest.mark.parametrize("counts", [[[2, 0], [1, 0]], [[1, 0]], [2, 0], [[1.5, 0.5]], [[-1, 3]]])
def test_what_can_not_be_counted_is_refused(counts):
    with pytest.raises(DataError, match="fleiss_kappa"):
        fleiss_kappa(counts)
