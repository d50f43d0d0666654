"""Sharded predictions as arrays: any number of rows, one batch of their reasons at a time. N rows, C labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray

from clsgen.data import explanations
from clsgen.data.prediction_table import WEIGHTS_KEY
from clsgen.data.predictions import SUM_TOLERANCE
from clsgen.data.shards import shard_files
from clsgen.errors import DataError

ABSENT = -1
_READ = (
    "id",
    "probs",
    "decision",
    "threshold",
    "label_set",
    "num_document_tokens_cut",
    "mode",
    "stated_label",
    "has_ended",
    "label",
    "group",
)
_NEVER_NULL = frozenset({"id", "probs", "decision", "logits", "text_hash"})
_BATCH = 4096


class Written(NamedTuple):
    """What is known of the reasons, (N,) each; zeros where a row has none.

    Attributes:
        mode_N: 0 free, 1 decision, -1 where there is no reason.
        has_ended_N: Whether it ended by itself.
        num_words_N: Words.
        num_ngrams_N: 4-grams.
        num_repeated_N: Of these, such that repeat an earlier one.
        num_quotes_N: Quotes of four words or more.
    """

    mode_N: NDArray[np.int64]
    has_ended_N: NDArray[np.bool_]
    num_words_N: NDArray[np.int64]
    num_ngrams_N: NDArray[np.int64]
    num_repeated_N: NDArray[np.int64]
    num_quotes_N: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Written:
        """Some of the rows, by index."""
        return Written._make(column[rows] for column in self)


class PredictionColumns(NamedTuple):
    """Predictions, sorted by id.

    Attributes:
        labels: In the order of the probabilities.
        threshold: Probability from which the positive label was decided; None where there is none.
        prob_NC: Calibrated probabilities.
        label_N: Class index of the known label; -1 where there is none.
        decided_N: Of the decision.
        stated_N: Of the label that the reason states; -1 where there is none.
        set_NC: Labels that could not be excluded; None where a row has no such set.
        group_N: Indices of groups in the order of their names; a row without a group is one of its own.
        cut_N: Whether the document was cut.
        written: The reasons.
    """

    labels: tuple[str, ...]
    threshold: float | None
    prob_NC: NDArray[np.float64]
    label_N: NDArray[np.int64]
    decided_N: NDArray[np.int64]
    stated_N: NDArray[np.int64]
    set_NC: NDArray[np.bool_] | None
    group_N: NDArray[np.int64]
    cut_N: NDArray[np.bool_]
    written: Written


class LogitColumns(NamedTuple):
    """What a calibrator is fitted on, in the order of the files: the labelled rows.

    Attributes:
        labels: In the order of the logits.
        ids: Of the rows.
        logit_NC: Class logits.
        label_N: Class index of the known label.
        group_N: Indices of groups.
        text_hashes: Of the documents, as `ties.document_digest` has them.
        weights: Which weights made the logits: one entry where all files agree.
    """

    labels: tuple[str, ...]
    ids: Sequence[str]
    logit_NC: NDArray[np.float64]
    label_N: NDArray[np.int64]
    group_N: NDArray[np.int64]
    text_hashes: Sequence[str]
    weights: frozenset[str]


def are_predictions(path: str) -> bool:
    """Whether a path is one or many parquet files of predictions, as `--engine ray` writes them."""
    try:
        files = shard_files(path, (".parquet",))
        return {"id", "probs", "decision", "logits"} <= set(pyarrow.parquet.read_schema(files[0]).names)
    except (DataError, pyarrow.ArrowException, OSError):
        return False


def read_prediction_columns(path: str) -> PredictionColumns:
    """Read all columns but the texts, and count in the reasons without keeping them.

    Raises:
        DataError: A file that can't be read, or has other columns or labels; an id twice; a probability that is none;
            a label, decision or stated label that is none of the labels; thresholds of more than one model.
    """
    files = shard_files(path, (".parquet",))
    table = _tables(path, files, _READ)
    order = _order(path, table)
    written = _written(files, table)
    table = table.take(order)
    labels = _labels(table)
    thresholds = pyarrow.compute.unique(table.column("threshold")).to_pylist()
    if len(thresholds) > 1:
        raise DataError(
            f"{path}: threshold must be the same in all rows; got {len(thresholds)} of them. "
            "Evaluate the predictions of each model by themselves."
        )
    return PredictionColumns(
        labels=labels,
        threshold=thresholds[0],
        prob_NC=_probs(path, table, labels),
        label_N=_indices(path, table, "label", labels),
        decided_N=_indices(path, table, "decision", labels),
        stated_N=_indices(path, table, "stated_label", labels),
        set_NC=_sets(path, table, labels),
        group_N=_groups(table),
        cut_N=np.asarray(table.column("num_document_tokens_cut").fill_null(0).to_numpy() > 0),
        written=written.take(order.to_numpy()),
    )


def read_logits(path: str) -> LogitColumns:
    """Read what a calibrator needs of labelled rows.

    Raises:
        DataError: A file that can't be read, has no logits, or no hash of the texts; an id twice; a label that is none.
    """
    files = shard_files(path, (".parquet",))
    table = _tables(path, files, ("id", "probs", "logits", "label", "group", "text_hash"))
    _order(path, table)
    table = table.filter(pyarrow.compute.is_valid(table.column("label")))
    labels = _labels(table)
    logits = table.column("logits").combine_chunks()
    values = logits.flatten().to_numpy(zero_copy_only=False)
    if (logits.value_lengths().to_numpy() != len(labels)).any() or not np.isfinite(values).all():
        raise DataError(f"{path}: logits must be {len(labels)} finite numbers in every labelled row. Predict again.")
    metadata = [pyarrow.parquet.read_schema(file).metadata or {} for file in files]
    return LogitColumns(
        labels=labels,
        ids=table.column("id").to_pylist(),
        logit_NC=values.reshape(table.num_rows, len(labels)).astype(np.float64),
        label_N=_indices(path, table, "label", labels),
        group_N=_groups(table),
        text_hashes=table.column("text_hash").to_pylist(),
        weights=frozenset(each.get(WEIGHTS_KEY, b"").decode() for each in metadata),
    )


def _order(path: str, table: Any) -> Any:
    """Indices that sort the rows by id.

    Raises:
        DataError: An id stands there twice.
    """
    order = pyarrow.compute.sort_indices(table.column("id"))
    ids = table.column("id").take(order).combine_chunks()
    if len(ids) > 1 and pyarrow.compute.any(pyarrow.compute.equal(ids[1:], ids[:-1])).as_py():
        twice = ids[1:].filter(pyarrow.compute.equal(ids[1:], ids[:-1]))[0].as_py()
        raise DataError(f"{path}: id must occur once; got {twice!r} more than once. Remove the file that repeats it.")
    return order


def _tables(path: str, files: Sequence[Path], names: Sequence[str]) -> Any:
    """The columns of all files together."""
    found = []
    for file in files:
        try:
            present = pyarrow.parquet.read_schema(file).names
            missing = [name for name in names if name not in present]
            if missing:
                raise DataError(
                    f"{file}: predictions must have the columns {', '.join(names)}; got none of {missing}. "
                    "Give files that clsgen predict --engine ray wrote, or name columns with --prob and --label."
                )
            found.append(pyarrow.parquet.read_table(file, columns=list(names)).replace_schema_metadata(None))
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{file}: file must be parquet; got {str(error)!r}. Check that it is whole.") from error
    try:
        table = pyarrow.concat_tables(found)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: all files must have the same labels and columns; {error}.") from error
    if not table.num_rows:
        raise DataError(f"{path}: predictions must be at least one row; got none.")
    for name in _NEVER_NULL.intersection(names):
        if num_null := table.column(name).null_count:
            raise DataError(f"{path}: {name} must be given in every row; {num_null} lack it. Predict them again.")
    return table


def _labels(table: Any) -> tuple[str, ...]:
    return tuple(field.name for field in table.schema.field("probs").type)


def _probs(path: str, table: Any, labels: Sequence[str]) -> NDArray[np.float64]:
    probs = table.column("probs").combine_chunks()
    columns = [probs.field(label).to_numpy(zero_copy_only=False).astype(np.float64) for label in labels]
    prob_NC = np.stack(columns, axis=1)
    is_wrong_N = ~((prob_NC >= 0) & (prob_NC <= 1)).all(1) | ~(np.abs(prob_NC.sum(1) - 1) <= SUM_TOLERANCE)
    if is_wrong_N.any():
        row = int(np.flatnonzero(is_wrong_N)[0])
        raise DataError(
            f"{path}: probs must be numbers from 0 to 1 that add up to 1; got {prob_NC[row].tolist()} for "
            f"{table.column('id')[row].as_py()!r} ({int(is_wrong_N.sum())} such rows)."
        )
    return prob_NC


def _indices(path: str, table: Any, name: str, labels: Sequence[str]) -> NDArray[np.int64]:
    return _members(path, name, table.column(name), labels)


def _members(path: str, name: str, column: Any, labels: Sequence[str]) -> NDArray[np.int64]:
    """Class indices of names; -1 where there is none.

    Raises:
        DataError: One that is none of the labels.
    """
    found = pyarrow.compute.index_in(column, value_set=pyarrow.array(labels, type=pyarrow.string()))
    if found.null_count > column.null_count:
        unknown = [each for each in pyarrow.compute.unique(column).to_pylist() if each not in (None, *labels)]
        raise DataError(f"{path}: {name} must be one of {list(labels)}; got {unknown[0]!r}.")
    return np.asarray(found.fill_null(ABSENT).to_numpy(), dtype=np.int64)


def _sets(path: str, table: Any, labels: Sequence[str]) -> NDArray[np.bool_] | None:
    column = table.column("label_set")
    if column.null_count:
        return None
    sets = column.combine_chunks()
    members = _members(path, "label_set", sets.flatten(), labels)
    if (members == ABSENT).any():
        raise DataError(f"{path}: label_set must hold some of {list(labels)}; got null.")
    set_NC = np.zeros((table.num_rows, len(labels)), dtype=bool)
    set_NC[np.repeat(np.arange(table.num_rows), sets.value_lengths().to_numpy()), members] = True
    return set_NC


def _groups(table: Any) -> NDArray[np.int64]:
    """Indices in the order of the names that a row's group, or its id where it has none, gives it."""
    join = pyarrow.compute.binary_join_element_wise
    own = join("row", table.column("id"), ":")
    named = pyarrow.compute.coalesce(join("group", table.column("group"), ":"), own).combine_chunks()
    encoded = named.dictionary_encode()
    order = pyarrow.compute.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return np.asarray(rank[encoded.indices.to_numpy()])


def _written(files: Sequence[Path], table: Any) -> Written:
    """What is known of the reasons, in the order of the files; they are read a batch at a time."""
    is_free = pyarrow.compute.equal(table.column("mode"), "free").fill_null(False).to_numpy()
    has_ended = table.column("has_ended").fill_null(False).to_numpy()
    found = Written(np.full(table.num_rows, ABSENT), np.asarray(has_ended), *np.zeros((4, table.num_rows), np.int64))
    row = 0
    for file in files:
        with pyarrow.parquet.ParquetFile(file) as opened:
            if "explanation" not in opened.schema_arrow.names:
                raise DataError(f"{file}: predictions must have the column explanation, which may be empty. Add it.")
            for batch in opened.iter_batches(_BATCH, columns=["explanation"]):
                texts = batch.column(0)
                for index in np.flatnonzero(texts.is_valid()).tolist():
                    _count(found, row + index, texts[index].as_py(), is_free=bool(is_free[row + index]))
                row += len(texts)
    return found


def _count(written: Written, row: int, text: str, *, is_free: bool) -> None:
    repetition = explanations.repetition(text)
    written.mode_N[row] = 0 if is_free else 1
    written.num_words_N[row] = len(explanations.words(text))
    written.num_ngrams_N[row], written.num_repeated_N[row] = repetition.num_ngrams, repetition.num_repeated
    written.num_quotes_N[row] = len(explanations.quotes(text))
