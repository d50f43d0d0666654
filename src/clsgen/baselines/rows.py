"""What the baselines ask of their rows: a known label each, and in train every class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clsgen.errors import DataError
from clsgen.types import Example, Role, TaskSpec


def label_indices(examples: Sequence[Example], spec: TaskSpec, *, role: Role) -> NDArray[np.int64]:
    """Class index of each row, (N,) int64.

    Args:
        examples: Rows of one role, 1 or more, each labelled.
        spec: The task whose labels the indices point into.
        role: Whose rows they are; named in errors, and in train every class must occur.

    Raises:
        DataError: No rows, a row without a label or with an unknown one, a class without train rows.
    """
    if not examples:
        raise DataError(f"baseline: {role} rows must be 1 or more; got 0. Carve a {role} role, or give its rows.")
    for example in examples:
        if example.label not in spec.labels:
            raise DataError(
                f"baseline: label of {role} row {example.id!r} must be one of {spec.labels!r}; got {example.label!r}. "
                "Leave unlabelled rows out, or add the label to the task."
            )
    labels_N = np.array([spec.labels.index(str(example.label)) for example in examples], dtype=np.int64)
    counts = tuple(np.bincount(labels_N, minlength=spec.num_labels).tolist())
    if role == "train" and min(counts) == 0:
        raise DataError(
            f"baseline: train rows must hold every label of {spec.labels!r}; got class counts {counts!r}. "
            "Add rows of the missing label, or drop it from the task."
        )
    return labels_N
