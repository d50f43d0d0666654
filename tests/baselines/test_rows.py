"""Rows that the baselines refuse."""

from __future__ import annotations

import pytest

from clsgen.baselines.rows import label_indices
from clsgen.errors import DataError
from clsgen.types import Example, TaskSpec

SPEC = TaskSpec("toy", ("no", "yes"), "Decide.", positive="yes")
ROWS = [Example("a", "text", label="yes"), Example("b", "text", label="no")]


def test_indices_follow_the_order_of_the_labels() -> None:
    assert label_indices(ROWS, SPEC, role="train").tolist() == [1, 0]
    assert label_indices(ROWS[:1], SPEC, role="validation").tolist() == [1]


def test_unusable_rows_are_refused() -> None:
    with pytest.raises(DataError, match=r"validation rows must be 1 or more; got 0"):
        label_indices([], SPEC, role="validation")
    for label in (None, "maybe"):
        with pytest.raises(DataError, match=r"label of test row 'c' must be one of \('no', 'yes'\); got"):
            label_indices([*ROWS, Example("c", "text", label=label)], SPEC, role="test")
    with pytest.raises(DataError, match=r"train rows must hold every label of .* got class counts \(0, 1\)"):
        label_indices(ROWS[:1], SPEC, role="train")
