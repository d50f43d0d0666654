from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from clsgen.errors import DataError
from clsgen.evaluation.decisions import accuracy, cohen_kappa, confusion, f1

pairs = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=40)


@settings(max_examples=80, deadline=None)
@given(pairs)
def test_binary_figures_agree_with_scikit_learn(drawn):
    decided, label, count = (np.array(column) for column in zip(*drawn, strict=True))
    decided, label = decided > 0, label > 0
    if not count.any():
        return
    table = confusion(decided, label, weight=count)
    cells = reference.confusion_matrix(label, decided, labels=[False, True], sample_weight=count).ravel()
    assert [float(cell) for cell in table] == [cells[3], cells[1], cells[2], cells[0]]
    if len(set(label[count > 0])) == 2 and len(set(decided[count > 0])) == 2:
        named = {"sample_weight": count}
        assert float(f1(decided, label, weight=count)) == pytest.approx(reference.f1_score(label, decided, **named))
        assert float(table.f1) == pytest.approx(reference.f1_score(label, decided, **named))
        assert float(table.mcc) == pytest.approx(reference.matthews_corrcoef(label, decided, **named), abs=1e-12)
        assert float(table.ppv) == pytest.approx(reference.precision_score(label, decided, **named))
        assert float(table.sensitivity) == pytest.approx(reference.recall_score(label, decided, **named))
        assert float(table.specificity) == pytest.approx(
            reference.recall_score(label, decided, pos_label=False, **named)
        )
        assert float(table.npv) == pytest.approx(reference.precision_score(label, decided, pos_label=False, **named))


@settings(max_examples=80, deadline=None)
@given(pairs)
def test_kappa_accuracy_and_macro_f1_agree_with_scikit_learn(drawn):
    first, second, count = (np.array(column) for column in zip(*drawn, strict=True))
    if not count.any():
        return
    assert float(accuracy(first, second, num_classes=3, weight=count)) == pytest.approx(
        reference.accuracy_score(first, second, sample_weight=count)
    )
    said = set(first[count > 0]) | set(second[count > 0])
    kappa = float(cohen_kappa(first, second, num_classes=3, weight=count))
    if len(said) > 1:
        theirs = reference.cohen_kappa_score(first, second, labels=[0, 1, 2], sample_weight=count)
        assert kappa == pytest.approx(theirs, abs=1e-12)
        assert kappa == pytest.approx(float(cohen_kappa(second, first, num_classes=3, weight=count)), abs=1e-12)
    else:
        assert math.isnan(kappa)
    if len(set(second[count > 0])) == 3:
        assert float(f1(first, second, num_classes=3, weight=count)) == pytest.approx(
            reference.f1_score(second, first, average="macro", sample_weight=count)
        )


def test_kappa_follows_rli_and_chance_at_low_prevalence():
    # 1,000 rows, 30 positive by each, 20 disagreements: RLI 0.02 and p_e = 0.03^2 + 0.97^2.
    first = np.array([1] * 30 + [0] * 970)
    second = np.array([1] * 20 + [0] * 10 + [1] * 10 + [0] * 960)
    assert float(cohen_kappa(first, second, num_classes=2)) == pytest.approx(1 - 0.02 / (1 - 0.03**2 - 0.97**2))


def test_shares_without_rows_are_undefined_and_not_zero():
    only_negative = confusion([0, 1], [0, 0])
    assert math.isnan(only_negative.sensitivity)
    assert math.isnan(only_negative.f1)
    assert math.isnan(only_negative.mcc)
    assert float(only_negative.specificity) == 0.5
    assert float(only_negative.ppv) == 0.0
    none_called = confusion([0, 0], [0, 1])
    assert math.isnan(none_called.ppv)
    assert float(none_called.f1) == 0.0
    only_positive = confusion([1, 1], [1, 1])
    assert math.isnan(only_positive.specificity)
    assert math.isnan(only_positive.npv)


def test_empty_input_is_undefined():
    assert math.isnan(accuracy([], [], num_classes=2))
    assert math.isnan(f1([], []))
    assert math.isnan(cohen_kappa([], [], num_classes=2))
    assert math.isnan(confusion([], []).sensitivity)


def test_macro_f1_needs_rows_of_every_class():
    assert math.isnan(f1([0, 1, 2], [0, 1, 1], num_classes=3))


def test_bad_input_is_named():
    with pytest.raises(DataError, match="accuracy: label must be a class index from 0 to 2; got 3 at row 0"):
        accuracy([3], [0], num_classes=3)
    with pytest.raises(DataError, match="f1: label must be a class index from 0 to 1; got nan at row 1"):
        f1([1, float("nan")], [0, 1])
    with pytest.raises(DataError, match="confusion: both label arrays must be of one length; got 1 and 2"):
        confusion([1], [0, 1])
