"""Predictions as parquet: one column a field, the probability of each label a column of its own below `probs`."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from clsgen.data.predictions import to_record
from clsgen.data.ties import document_digest
from clsgen.types import Example, Prediction

WEIGHTS_KEY = b"clsgen.weights_sha256"
"""Key of the file's metadata that says which weights made its logits."""


def schema_of(labels: Sequence[str], weights_sha256: str) -> Any:
    """The columns of a file of predictions.

    Args:
        labels: The task's labels, in their order.
        weights_sha256: Identifies the weights that made the logits.
    """
    text, number, flag = pyarrow.string(), pyarrow.float64(), pyarrow.bool_()
    return pyarrow.schema(
        [
            pyarrow.field("id", text, nullable=False),
            pyarrow.field("probs", pyarrow.struct([(label, number) for label in labels]), nullable=False),
            pyarrow.field("logits", pyarrow.list_(number), nullable=False),
            pyarrow.field("decision", text, nullable=False),
            ("threshold", number),
            ("label_set", pyarrow.list_(text)),
            ("abstained", flag),
            ("num_document_tokens_cut", pyarrow.int64()),
            ("mode", text),
            ("explanation", text),
            ("stated_label", text),
            ("has_ended", flag),
            ("agreement", flag),
            ("label", text),
            ("group", text),
            ("question", text),
            ("text_hash", text),
        ],
        metadata={WEIGHTS_KEY: weights_sha256.encode()},
    )


def parquet_bytes(predictions: Sequence[Prediction], examples: Sequence[Example], schema: Any) -> bytes:
    """A parquet file of predictions.

    Args:
        predictions: The rows.
        examples: What they were made of, in the same order; `text_hash` is of the document.
        schema: As `schema_of` gives it.
    """
    rows = [
        to_record(prediction) | {"text_hash": document_digest(example.document)}
        for prediction, example in zip(predictions, examples, strict=True)
    ]
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), buffer, compression="zstd")
    return buffer.getvalue()


def num_rows_of(path: Path) -> int:
    """Rows of a parquet file; -1 where it is none."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return int(file.metadata.num_rows)
    except (pyarrow.ArrowException, OSError):
        return -1


def join_parquet(sources: Iterable[Path], target: Path) -> None:
    """Parquet files with one schema made one, a row group each; one of them is held at a time."""
    tables: Iterator[Any] = (pyarrow.parquet.read_table(path) for path in sources)
    first = next(tables)
    with pyarrow.parquet.ParquetWriter(target, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def metadata_of(path: Path) -> Mapping[bytes, bytes]:
    """What a parquet file says of itself beside its columns."""
    return dict(pyarrow.parquet.read_schema(path).metadata or {})
