"""Predictions as arrays: checked against the task, sorted by id so that the order of rows is nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clsgen.errors import DataError
from clsgen.evaluation.arrays import FloatArray, IntArray
from clsgen.types import Prediction, TaskSpec

if TYPE_CHECKING:  # which loads pyarrow
    from clsgen.data.prediction_columns import PredictionColumns, Written
    from clsgen.data.scores import Scores

ABSENT = -1
"""Class index of a row without label, or of an explanation that states none."""

_ROUNDED = 1e-3
"""A probability this near to the threshold may have been rounded to the other side of it in a file."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one task; class indices follow the task's labels, `ABSENT` where there is none.

    Attributes:
        spec: The task.
        predictions: The rows, sorted by id; () where columns of files are judged, which hold no texts.
        group: (N,) name or index of each row's group; a row without group is a group of its own.
        threshold: Probability from which the positive label was decided; None with more than two classes.
        prob_NC: Calibrated probabilities.
        label_N: Known label.
        decided_N: Label decided at the stored threshold, or the most probable one.
        stated_N: Label that the explanation states.
        set_NC: Which labels each row could not exclude; None where a row has no such set.
        cut_N: Whether each row's document was cut; None where that is not known.
        written: What was counted in the reasons of columns; None: `predictions` have them, or there are none.
    """

    spec: TaskSpec
    predictions: tuple[Prediction, ...]
    group: NDArray[np.str_] | IntArray
    threshold: float | None
    prob_NC: FloatArray
    label_N: IntArray
    decided_N: IntArray
    stated_N: IntArray
    set_NC: NDArray[np.bool_] | None
    cut_N: NDArray[np.bool_] | None = None
    written: Written | None = None

    @property
    def is_binary(self) -> bool:
        """Whether one probability, that of the positive label, says all."""
        return self.spec.num_labels == 2

    @property
    def positive_index(self) -> int:
        """Index of the label that `prob` is of; two classes only."""
        return self.spec.labels.index(str(self.spec.positive))

    @property
    def prob(self) -> FloatArray:
        """(N,) of the positive label with two classes, else (N, C)."""
        return self.prob_NC[:, self.positive_index] if self.is_binary else self.prob_NC

    @property
    def argmax_N(self) -> IntArray:
        """Most probable class; of equals the positive one with two classes, else the first."""
        if not self.is_binary:
            return np.asarray(np.argmax(self.prob_NC, axis=1), dtype=np.int64)
        positive = self.positive_index
        return np.where(self.prob >= 0.5, np.int64(positive), np.int64(1 - positive))

    def target(self, index_N: IntArray) -> IntArray:
        """Class indices (none absent) as `prob` needs them: 1 for the positive label with two classes."""
        return (index_N == self.positive_index).astype(np.int64) if self.is_binary else index_N

    def take(self, rows: IntArray) -> Table:
        """Some of the rows, by index."""
        return replace(
            self,
            predictions=tuple(self.predictions[row] for row in rows) if self.predictions else (),
            group=self.group[rows],
            prob_NC=self.prob_NC[rows],
            label_N=self.label_N[rows],
            decided_N=self.decided_N[rows],
            stated_N=self.stated_N[rows],
            set_NC=None if self.set_NC is None else self.set_NC[rows],
            cut_N=None if self.cut_N is None else self.cut_N[rows],
            written=None if self.written is None else self.written.take(rows),
        )

    def one_vs_rest(self, index: int) -> Table:
        """The same rows as a question of two classes: one label, positive, against all others together."""
        return self._against_rest([index], self.spec.labels[index])

    def up_to(self, index: int) -> Table:
        """The same rows of ordered labels as a question of two classes: this label or an earlier one, positive.

        It is decided from a sum of one half upwards: the likeliest single label says nothing of the sum.
        """
        found = self._against_rest(list(range(index + 1)), f"{self.spec.labels[index]} or earlier")
        decided_N = np.where(self.decided_N == ABSENT, ABSENT, found.prob_NC[:, 1] >= 0.5)
        return replace(found, decided_N=decided_N)

    def _against_rest(self, members: list[int], name: str) -> Table:
        prob = self.prob_NC[:, members].sum(axis=1).clip(0, 1)
        label_N, decided_N, stated_N = (
            np.where(each == ABSENT, ABSENT, np.isin(each, members))
            for each in (self.label_N, self.decided_N, self.stated_N)
        )
        return replace(
            self,
            spec=replace(self.spec, labels=(f"not {name}", name), positive=name),
            threshold=None,
            prob_NC=np.stack([1 - prob, prob], axis=1),
            label_N=label_N,
            decided_N=decided_N,
            stated_N=stated_N,
            set_NC=None,
        )


def tabulate(predictions: Sequence[Prediction], spec: TaskSpec) -> Table:
    """Gives the table of predictions of one task.

    Raises:
        DataError: No row, an id twice, labels other than the task's, probabilities that are none, two classes
            without a positive one, thresholds of more than one model, decisions other than the threshold's.
    """
    _check_rows(predictions, spec)
    rows = tuple(sorted(predictions, key=lambda row: row.id))
    index_of = {label: index for index, label in enumerate(spec.labels)}
    index_of_each = {
        name: np.array([_index(getattr(row, name), name, row.id, index_of) for row in rows], dtype=np.int64)
        for name in ("label", "decision", "stated_label")
    }
    table = Table(
        spec=spec,
        predictions=rows,
        group=np.array([f"row:{row.id}" if row.group is None else f"group:{row.group}" for row in rows]),
        threshold=rows[0].threshold,
        prob_NC=np.array([[row.probs[label] for label in spec.labels] for row in rows], dtype=np.float64),
        label_N=index_of_each["label"],
        decided_N=index_of_each["decision"],
        stated_N=index_of_each["stated_label"],
        set_NC=_sets(rows, spec),
        cut_N=np.array([row.num_document_tokens_cut > 0 for row in rows], dtype=bool),
    )
    _check_decisions(table)
    return table


def table_of_scores(scores: Scores, spec: TaskSpec, *, threshold: float) -> Table:
    """Gives the table of a file's columns; nothing in it was explained.

    Args:
        scores: The columns.
        spec: The task; labels in the order of the columns.
        threshold: Two classes: the positive label is decided from here upwards. More: the largest probability decides.
    """
    is_binary = spec.num_labels == 2
    decided_N = scores.prob_NC.argmax(1)
    if is_binary:
        positive = spec.labels.index(str(spec.positive))
        decided_N = np.where(scores.prob_NC[:, positive] >= threshold, positive, 1 - positive)
    return Table(
        spec=spec,
        predictions=(),
        group=scores.group_N,
        threshold=threshold if is_binary else None,
        prob_NC=scores.prob_NC,
        label_N=scores.label_N,
        decided_N=decided_N,
        stated_N=np.full(len(decided_N), ABSENT),
        set_NC=None,
    )


def table_of_columns(columns: PredictionColumns, spec: TaskSpec) -> Table:
    """Gives the table of sharded predictions.

    Args:
        columns: The rows.
        spec: The task; labels in the order of the columns.

    Raises:
        DataError: Decisions other than the threshold's.
    """
    table = Table(
        spec=spec,
        predictions=(),
        group=columns.group_N,
        threshold=columns.threshold,
        prob_NC=columns.prob_NC,
        label_N=columns.label_N,
        decided_N=columns.decided_N,
        stated_N=columns.stated_N,
        set_NC=columns.set_NC,
        cut_N=columns.cut_N,
        written=columns.written,
    )
    _check_decisions(table)
    return table


def _sets(rows: Sequence[Prediction], spec: TaskSpec) -> NDArray[np.bool_] | None:
    if any(row.label_set is None for row in rows):
        return None
    return np.array([[label in (row.label_set or ()) for label in spec.labels] for row in rows], dtype=bool)


def _check_rows(predictions: Sequence[Prediction], spec: TaskSpec) -> None:
    if not predictions:
        raise DataError("evaluate: predictions must be at least one row; got none.")
    if spec.num_labels == 2 and spec.positive not in spec.labels:
        raise DataError(f"evaluate: positive must be one of {list(spec.labels)}; got {spec.positive!r}.")
    twice = [id_ for id_, count in Counter(row.id for row in predictions).items() if count > 1]
    if twice:
        raise DataError(f"evaluate: id must occur once; got {twice[0]!r} more than once ({len(twice)} such ids).")
    for row in predictions:
        if set(row.probs) != set(spec.labels):
            raise DataError(
                f"evaluate: probs of row {row.id!r} must be of the labels {list(spec.labels)}; "
                f"got {list(row.probs)}. Evaluate with the task that the model was trained on."
            )
        if not all(0 <= prob <= 1 for prob in row.probs.values()):
            raise DataError(f"evaluate: probs of row {row.id!r} must be from 0 to 1; got {dict(row.probs)}.")
    thresholds = {row.threshold for row in predictions}
    if len(thresholds) > 1:
        raise DataError(
            f"evaluate: threshold must be the same in all rows; got {len(thresholds)} of them. "
            "Evaluate the predictions of each model by themselves."
        )


def _check_decisions(table: Table) -> None:
    """Raise where the threshold says otherwise: the positive label is another one, or the threshold is."""
    if table.threshold is None or not table.is_binary:
        return
    is_positive_N = table.decided_N == table.positive_index
    is_known_N = (table.decided_N != ABSENT) & (np.abs(table.prob - table.threshold) > _ROUNDED)
    wrong = np.flatnonzero(is_known_N & (is_positive_N != (table.prob >= table.threshold)))
    if len(wrong):
        first = int(wrong[0])
        decided = table.spec.labels[table.decided_N[first]]
        raise DataError(
            f"evaluate: decision must be {table.spec.positive!r} from a probability of {table.threshold:g} upwards "
            f"and the other label below; got {decided!r} at {table.prob[first]:.4g} (rows like this: {len(wrong)}). "
            "Name the label that the threshold is for as positive, or correct threshold or decision."
        )


def _index(label: str | None, name: str, row_id: str, index_of: dict[str, int]) -> int:
    if label is None:
        return ABSENT
    if label not in index_of:
        raise DataError(f"evaluate: {name} of row {row_id!r} must be one of {list(index_of)}; got {label!r}.")
    return index_of[label]
