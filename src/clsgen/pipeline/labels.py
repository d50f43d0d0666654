"""Labels of any hashable kind as the names that a task has, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from clsgen.errors import DataError


class Classes(NamedTuple):
    """The classes of given labels.

    Attributes:
        values: The distinct labels as they were given, sorted, (C,).
        names: What the model writes for each, in that order.
        indices: The class of each row, (N,).
    """

    values: NDArray[Any]
    names: tuple[str, ...]
    indices: NDArray[np.int64]


def classes_of(labels: Sequence[Any] | None) -> Classes:
    """The classes of labels that are texts, whole numbers, booleans, or hashable of any other kind.

    Labels of one kind are sorted by value, of several by kind and then by how they are written.

    Raises:
        DataError: None at all, missing ones, fewer than two classes, or two that are written alike.
        ValueError: Labels of a regression, from scikit-learn.

    >>> found = classes_of([True, False, True])
    >>> found.values.tolist(), found.names, found.indices.tolist()
    ([False, True], ('False', 'True'), [1, 0, 1])
    """
    if labels is None:
        raise DataError("fit requires y to be passed, but the target y is None. Give the labels.")
    array_N = _as_array(labels)
    values = array_N.tolist() if array_N.dtype.kind == "O" else list(array_N)
    try:
        distinct = list(dict.fromkeys(values))
    except TypeError as error:
        raise DataError(f"fit: labels must be hashable; {error}. Give texts, numbers or tuples.") from None
    if any(map(is_missing, distinct)):
        raise DataError("fit: every label must be there; y holds None or NaN. Leave those rows out.")
    if array_N.dtype.kind in "fc":
        check_classification_targets(array_N)
    distinct = _sorted(distinct)
    names = tuple(str(value) for value in distinct)
    if len(names) == 1:
        raise DataError("fit: y must hold two classes or more; got 1 class. Add rows of another.")
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise DataError(f"fit: labels must be written differently and not blank; got {distinct!r}. Rename some.")
    at = {value: index for index, value in enumerate(distinct)}
    indices = np.array([at[value] for value in values], dtype=np.int64)
    return Classes(_array_of(distinct, array_N.dtype), names, indices)


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, or what pandas has in their place.

    >>> [is_missing(value) for value in (None, float("nan"), 0, "", "nan")]
    [True, True, False, False, False]
    """
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas' NA, which is neither equal to itself nor not
        return True


def _as_array(labels: Sequence[Any]) -> NDArray[Any]:
    """One dimension, and no label made into another kind: numpy would write [1, "a"] as two texts."""
    if hasattr(labels, "__array__"):
        given: NDArray[Any] = np.asarray(labels)
        return column_or_1d(given, warn=True) if given.ndim != 1 else given
    rows = list(labels)
    if len({type(row) for row in rows}) == 1 and isinstance(rows[0], str | bool | int | float | np.generic):
        return np.asarray(rows)
    return _array_of(rows, np.dtype(object))


def _array_of(values: Sequence[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=dtype)
    array[:] = values if dtype.kind != "O" else None
    if dtype.kind == "O":
        for index, value in enumerate(values):  # one at a time: a tuple is one label and no row of a matrix
            array[index] = value
    return array


def _sorted(distinct: list[Any]) -> list[Any]:
    try:
        return sorted(distinct)
    except TypeError:
        return sorted(distinct, key=lambda value: (type(value).__name__, str(value)))
