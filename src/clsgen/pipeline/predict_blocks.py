"""Predictions for many rows by many processes; this one reads the rows once and loads no model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from clsgen.artifacts import MANIFEST, locked, make_folder, sha256_of
from clsgen.config.data import ColumnSettings
from clsgen.data.plan import Plan, plan_blocks
from clsgen.data.shards import shard_files
from clsgen.errors import ArtifactError, RestrictedError
from clsgen.inference.asked import UNCERTAIN_MARGIN
from clsgen.inference.blocks import (
    BLOCK_ROWS,
    SEAL_FILE,
    Job,
    form_of,
    join_blocks,
    remove_half_written,
    unfinished,
    write_groups,
)
from clsgen.inference.cluster import ADDRESS, check_ray, predict_blocks
from clsgen.inference.partial import WRITING, Wanted, check_seal, check_wanted, keeping, seal_of
from clsgen.model.calibrator import Calibrator
from clsgen.pipeline.model_folder import ModelFolder


class PredictedFile(NamedTuple):
    """num_rows: lines written. num_resumed: of these, found done. dropped: reason -> rows left out."""

    num_rows: int
    num_resumed: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be predicted.

    Attributes:
        model: The model directory.
        source: A parquet or jsonl file, or a folder or glob of them.
        output: A file that ends in .jsonl or .parquet; else a folder of parquet files.
        columns: Which column is what.
        wanted: What is to be given of each row.
        base: Path or hub id of the base weights, where they moved.
    """

    model: Path
    source: str
    output: Path
    columns: ColumnSettings
    wanted: Wanted
    base: str | None = None


def predict_many(
    work: Work, *, num_workers: int | None = None, on_progress: Callable[[int, int], None] | None = None
) -> PredictedFile:
    """Predict every row of a source with Ray, going on where an earlier run stopped.

    Rows come out in the order of the input, as one process would predict them: the same batches, and so the same
    probabilities to the last bit on the same kind of machine.

    Args:
        work: What is to be predicted.
        num_workers: At most so many; None: one a GPU, without GPUs one a core.
        on_progress: Called with (rows done, rows in all).

    Raises:
        ConfigError: Options that don't suit the model or the output, or Ray is not there; no file is touched.
        DataError: As for `data.plan.plan_blocks`.
        ArtifactError: A partial result of another run is in the way, or the output can't be written.
        RestrictedError: A cluster beyond this machine, for a restricted model.
    """
    check_ray(num_workers)
    folder = ModelFolder(work.model)
    spec = folder.spec()
    if spec.is_restricted and os.environ.get(ADDRESS):
        raise RestrictedError(f"predict: a restricted model stays on this machine. Unset {ADDRESS}.")
    form = form_of(work.output)
    calibrator = Calibrator.from_json(folder.record("calibrator.json"))
    has_explanations = bool(folder.record("clsgen.json")["has_explanations"])
    check_wanted(work.wanted, spec=spec, has_explanations=has_explanations, calibrator=calibrator)
    plan = plan_blocks(work.source, work.columns, labels=spec.labels, block_rows=BLOCK_ROWS)
    job = Job(
        model=work.model.absolute(),
        base=work.base,
        files=tuple(path.absolute() for path in shard_files(work.source)),
        columns=work.columns,
        wanted=work.wanted,
        folder=work.output.absolute().with_name(work.output.name + ".partial"),
        form=form,
        weights_sha256=folder.weights_sha256(),
        is_private=spec.is_restricted,
    )
    num_resumed = _run(job, plan, work.output.absolute(), num_workers=num_workers, on_progress=on_progress)
    return PredictedFile(plan.num_rows, num_resumed, plan.dropped)


def _run(
    job: Job, plan: Plan, output: Path, *, num_workers: int | None, on_progress: Callable[[int, int], None] | None
) -> int:
    """Finish what is not finished, and join it; rows found done."""
    if job.folder.is_file():
        raise ArtifactError(
            f"{job.folder}: a partial result of another engine is in the way. Finish that run, or delete it."
        )
    make_folder(job.folder)
    digest = sha256_of(job.model / MANIFEST)
    seal = seal_of(job.wanted, model_hash=digest, rows_hash=plan.rows_sha256, margin=UNCERTAIN_MARGIN)
    seal |= {"form": job.form, "block_rows": BLOCK_ROWS}
    lock = locked(job.folder / "lock", doing=WRITING, is_private=job.is_private)
    with keeping(output, job.folder), lock:
        if not check_seal(job.folder / SEAL_FILE, seal, is_private=job.is_private):
            for left in job.folder.glob("block-*"):
                left.unlink()
        write_groups(job, plan.group_N)
        todo = unfinished(job, plan.blocks)
        num_resumed = num_done = plan.num_rows - sum(block.num_rows for block in todo)

        def count(num_rows: int) -> None:
            nonlocal num_done
            num_done += num_rows
            if on_progress is not None:
                on_progress(num_done, plan.num_rows)

        count(0)
        try:
            predict_blocks(job, todo, num_workers=num_workers, on_done=count)
        finally:
            remove_half_written(job)
        join_blocks(job, plan.blocks, output)
        shutil.rmtree(job.folder)
    return num_resumed
