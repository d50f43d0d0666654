from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics as reference

from clsgen.errors import DataError
from clsgen.evaluation.alignment import auroc_alignment, r_lkappa, rli, rli_bounds


def test_alignment_of_a_binary_task_is_the_auroc_against_the_stated_label():
    rng = np.random.default_rng(0)
    prob = np.round(rng.random(200), 2)
    stated = (rng.random(200) < prob).astype(int)
    assert float(auroc_alignment(prob, stated)) == pytest.approx(reference.roc_auc_score(stated, prob))


def test_alignment_of_more_classes_is_the_mean_over_the_stated_ones():
    rng = np.random.default_rng(1)
    prob = rng.dirichlet([1, 1, 1], size=100)
    stated = rng.integers(0, 3, size=100)
    each = [reference.roc_auc_score(stated == c, prob[:, c]) for c in range(3)]
    assert float(auroc_alignment(prob, stated)) == pytest.approx(np.mean(each))
    keep = stated != 1
    each = [reference.roc_auc_score(stated[keep] == c, prob[keep, c]) for c in (0, 2)]
    assert float(auroc_alignment(prob[keep], stated[keep])) == pytest.approx(np.mean(each))


def test_alignment_of_one_stated_label_is_undefined():
    assert math.isnan(auroc_alignment([0.2, 0.8], [1, 1]))
    assert math.isnan(auroc_alignment([[0.2, 0.3, 0.5]], [1]))
    assert np.isnan(auroc_alignment([[0.2, 0.3, 0.5]], [1], weight=[[1.0], [2.0]])).all()
    assert math.isnan(auroc_alignment([], []))


def test_rli_and_kappa_of_full_agreement_and_of_none():
    assert float(rli([0, 1, 2], [0, 1, 2], num_classes=3)) == 0.0
    assert float(r_lkappa([0, 1, 2], [0, 1, 2], num_classes=3)) == 1.0
    assert float(rli([0, 1], [1, 0], num_classes=2)) == 1.0
    assert float(r_lkappa([0, 1], [1, 0], num_classes=2)) == -1.0


def test_kappa_equals_scikit_learn_and_the_identity_with_rli():
    rng = np.random.default_rng(2)
    decided = (rng.random(500) < 0.1).astype(int)
    stated = np.where(rng.random(500) < 0.05, 1 - decided, decided)
    kappa = float(r_lkappa(decided, stated, num_classes=2))
    assert kappa == pytest.approx(reference.cohen_kappa_score(decided, stated))
    by_chance = sum((decided == c).mean() * (stated == c).mean() for c in (0, 1))
    assert kappa == pytest.approx(1 - float(rli(decided, stated, num_classes=2)) / (1 - by_chance))


def test_bounds_enclose_rli_and_meet_where_all_were_parsed():
    bounds = rli_bounds(3, 10, 5)
    assert bounds.all_agree == pytest.approx(3 / 15)
    assert bounds.all_disagree == pytest.approx(8 / 15)
    assert bounds.all_agree <= 3 / 10 <= bounds.all_disagree
    assert rli_bounds(3, 10, 0) == (0.3, 0.3)
    assert all(math.isnan(end) for end in rli_bounds(0, 0, 0))


def test_bad_input_is_named():
    with pytest.raises(DataError, match=r"rli_bounds: counts must be .* got 3, 2, 0"):
        rli_bounds(3, 2, 0)
    with pytest.raises(DataError, match="auroc_alignment: label must be a class index from 0 to 1; got -1"):
        auroc_alignment([0.5], [-1])
    with pytest.raises(DataError, match="auroc_alignment: prob must be from 0 to 1; got nan"):
        auroc_alignment([float("nan")], [1])
