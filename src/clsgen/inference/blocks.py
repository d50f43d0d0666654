"""Blocks of rows predicted by many processes: each is written whole or not at all, and all are joined in order."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clsgen.artifacts import make_folder, swap_folder, write_bytes_atomic
from clsgen.config.data import ColumnSettings
from clsgen.data.plan import Block, read_block
from clsgen.data.prediction_table import join_parquet, num_rows_of, parquet_bytes, schema_of
from clsgen.data.shards import ShardReader
from clsgen.errors import ArtifactError, ConfigError
from clsgen.inference.partial import WINDOW, Wanted, json_lines, with_groups
from clsgen.types import Prediction

if TYPE_CHECKING:  # which loads torch
    from clsgen.inference.predictor import Classifier

BLOCK_ROWS = 4 * WINDOW
"""Rows of a block: whole windows, so that batches are those of a run in one process."""
SHARD_BLOCKS = 64
"""Blocks that are joined into one file where the output is a folder."""
GROUPS_FILE = "groups.npy"
SEAL_FILE = "seal.json"

Form = Literal["jsonl", "parquet"]


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker must know to predict any block.

    Attributes:
        model: The model directory.
        base: Path or hub id of the base weights, where they moved.
        files: Files of the input, in their order.
        columns: Which column is what.
        wanted: What is to be given of each row.
        folder: Where finished blocks go.
        form: What they are written as.
        weights_sha256: Identifies the weights that make the logits.
        is_private: Whether files are the owner's alone.
    """

    model: Path
    base: str | None
    files: tuple[Path, ...]
    columns: ColumnSettings
    wanted: Wanted
    folder: Path
    form: Form
    weights_sha256: str
    is_private: bool

    def file_of(self, number: int) -> Path:
        """Where a finished block stands; it is there once it is whole."""
        return self.folder / f"block-{number:07}.{self.form}"


class BlockPredictor:
    """Predicts blocks and writes them: the work of one process."""

    def __init__(self, job: Job, classifier: Classifier) -> None:
        """Take the work.

        Args:
            job: What is to be done.
            classifier: The model, loaded.
        """
        self._job, self._classifier = job, classifier
        self._reader = ShardReader(job.files)
        self._schema = schema_of(classifier.labels, job.weights_sha256)

    def write(self, block: Block) -> None:
        """Predict a block's rows and write its file.

        Raises:
            DataError: The input can't be read, or is not what it was.
            ArtifactError: The file can't be written.
        """
        examples = read_block(self._reader, block, self._job.columns)
        explain, mode, prior = self._job.wanted
        found: list[Prediction] = []
        for start in range(0, len(examples), WINDOW):
            window = examples[start : start + WINDOW]
            found += self._classifier.predict(window, explain=explain, mode=mode, prior=prior)
        numbers = np.load(self._job.folder / GROUPS_FILE, mmap_mode="r")[block.first_row :][: block.num_rows]
        named = with_groups(found, {row.id: f"g{group}" for row, group in zip(examples, numbers, strict=True)})
        if self._job.form == "jsonl":
            content = b"".join(json_lines(named))
        else:
            content = parquet_bytes(named, examples, self._schema)
        write_bytes_atomic(self._job.file_of(block.number), content, is_private=self._job.is_private)


def unfinished(job: Job, blocks: Sequence[Block]) -> list[Block]:
    """Blocks that are yet to be predicted."""
    return [block for block in blocks if not job.file_of(block.number).is_file()]


def remove_half_written(job: Job) -> None:
    """Remove what killed workers left under temporary names."""
    for left in job.folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)


def form_of(output: Path) -> Form:
    """What an output is written as: jsonl where its name ends so, else parquet.

    Raises:
        ConfigError: A name that ends otherwise, or a folder with other things in it.
    """
    suffix = output.suffix.lower()
    if suffix not in ("", ".jsonl", ".parquet"):
        raise ConfigError(
            f"predict: --output must end in .jsonl or .parquet, or be a folder for parquet files; got {output.name!r}."
        )
    if output.is_dir():
        others = [each.name for each in output.iterdir() if each.suffix != ".parquet"]
        if suffix or others:
            raise ConfigError(
                f"predict: --output must be a new folder, or one of parquet files alone, which are replaced; {output} "
                f"holds {others[0] if others else 'files'}. Choose another."
            )
    return "jsonl" if suffix == ".jsonl" else "parquet"


def join_blocks(job: Job, blocks: Sequence[Block], output: Path) -> None:
    """Make the output of finished blocks, in their order; it takes its name when it is whole.

    Args:
        job: What was done.
        blocks: All blocks.
        output: A file that ends in .jsonl or .parquet; else a folder of parquet files.

    Raises:
        ArtifactError: A block holds other rows than it should.
        OSError: The output can't be written.
    """
    for block in blocks:
        _check_block(job, block)
    if output.suffix:
        joined = job.folder / f"joined{output.suffix}"
        _join(job, blocks, joined)
        joined.replace(output)
        return
    folder = job.folder / "joined"
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    for start in range(0, len(blocks), SHARD_BLOCKS):
        part = folder / f"part-{start // SHARD_BLOCKS:05}.parquet"
        _join(job, blocks[start : start + SHARD_BLOCKS], part)
    swap_folder(folder, output)


def _check_block(job: Job, block: Block) -> None:
    path = job.file_of(block.number)
    num_rows = num_rows_of(path) if job.form == "parquet" else path.read_bytes().count(b"\n")
    if num_rows != block.num_rows:
        raise ArtifactError(
            f"{path}: a finished block must hold {block.num_rows} rows; got {max(num_rows, 0)}. "
            "Delete it and run the same command again."
        )


def _join(job: Job, blocks: Sequence[Block], target: Path) -> None:
    sources = [job.file_of(block.number) for block in blocks]
    target.touch(0o600 if job.is_private else 0o644)
    if job.form == "parquet":
        join_parquet(sources, target)
    else:
        with target.open("wb") as stream:
            for source in sources:
                stream.write(source.read_bytes())
    with target.open("rb") as stream:
        os.fsync(stream.fileno())  # the blocks are removed as soon as they are joined


def write_groups(job: Job, group_N: Any) -> None:
    """Put the component of each row where the workers read it."""
    buffer = io.BytesIO()
    np.save(buffer, group_N)
    write_bytes_atomic(job.folder / GROUPS_FILE, buffer.getvalue(), is_private=job.is_private)
