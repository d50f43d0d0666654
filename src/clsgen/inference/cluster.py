"""Blocks predicted by Ray: one worker a GPU or core, each with the model. Only numbers travel; workers read and write.

Nothing here leaves the machine: Ray's usage report and dashboard are off, and a Ray of our own listens on loopback.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from clsgen import errors
from clsgen.data.plan import Block
from clsgen.data.shards import Place
from clsgen.errors import ClsgenError, ConfigError, HardwareError
from clsgen.inference.blocks import BlockPredictor, Job

ADDRESS = "RAY_ADDRESS"
"""Environment variable that names a running cluster; without it a Ray of our own is started, and ended."""

_OBJECT_STORE_BYTES = 100 * 2**20
"""For numbers of blocks alone: no text passes through it."""
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
}
_MAX_TEMPORARY = 24
"""Characters of a folder for Ray's files: the path of a socket holds 107, and Ray adds about 80."""
_OWN = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0"}
"""Of a Ray of our own: it listens on loopback alone, and to nobody without the token. (Ray names the first after the
systems where that is the rule.) Its workers have the command's priority: Ray's 15 starves them beside other work."""
_LIVES = 4
"""A worker that dies is started again so often, and a block tried; then something kills them all."""

_MAX_REASON = 300


class _Pool(NamedTuple):
    """num_now: workers that fit now. num_most: as many as there may be. resources: of each, as Ray names them."""

    num_now: int
    num_most: int
    resources: Mapping[str, float]


class BlockWorker:
    """What each of Ray's actors runs. A refusal travels back as a row, so that its message stays what it is."""

    def __init__(self, job: Job) -> None:
        """Load the model."""
        # The process that hands out blocks imports this file, and has no use for torch.
        from clsgen.inference.predictor import Classifier  # noqa: PLC0415

        self._refusal: ClsgenError | None = None
        try:
            self._predictor = BlockPredictor(job, Classifier.from_pretrained(job.model, base=job.base))
        except ClsgenError as error:
            self._refusal = error

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Predict the one block of a batch."""
        block = _to_block({name: int(values[0]) for name, values in batch.items()})
        refusal = self._refusal
        if refusal is None:
            try:
                self._predictor.write(block)
            except ClsgenError as error:
                refusal = error
        kind = "" if refusal is None else type(refusal).__name__
        return {"num_rows": [block.num_rows], "kind": [kind], "message": [str(refusal or "")]}


def check_ray(num_workers: int | None) -> None:
    """Refuse what can't be started, before anything is.

    Raises:
        ConfigError: Ray is not installed, or no number of workers.
    """
    if find_spec("ray") is None:
        raise ConfigError("predict: Ray must be installed for --engine ray. Run: pip install 'clsgen[ray]'")
    if num_workers is not None and num_workers < 1:
        raise ConfigError(f"predict: --workers must be 1 or more; got {num_workers}. Leave it out to use all there is.")


def predict_blocks(
    job: Job, blocks: Sequence[Block], *, num_workers: int | None, on_done: Callable[[int], None]
) -> None:
    """Have the workers predict and write blocks.

    A worker that dies is replaced, and its block begun again.

    Args:
        job: What is to be done.
        blocks: Those that are not finished.
        num_workers: At most so many; None: one a GPU, without GPUs one a core.
        on_done: Called with the number of rows of each block that was finished.

    Raises:
        ConfigError: There is no Ray at RAY_ADDRESS.
        HardwareError: Workers die again and again.
        ClsgenError: What a worker refused.
    """
    if not blocks:
        return
    with _ray() as ray:
        pool = _pool(ray, num_workers)
        compute = ray.data.ActorPoolStrategy(
            min_size=1,
            max_size=min(pool.num_most, len(blocks)),
            initial_size=min(pool.num_now, pool.num_most, len(blocks)),
            max_tasks_in_flight_per_actor=2,
        )
        rows = [_to_row(block) for block in blocks]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            BlockWorker,
            fn_constructor_args=(job,),
            batch_size=1,
            compute=compute,
            max_restarts=_LIVES,
            max_task_retries=_LIVES,
            **pool.resources,
        )
        try:
            for found in dataset.iter_rows():
                if found["kind"]:
                    raise getattr(errors, found["kind"])(found["message"])
                on_done(found["num_rows"])
        except ray.exceptions.RayError as error:
            if isinstance(error, (ray.exceptions.RayTaskError, ray.exceptions.UserCodeException)):
                raise  # a bug of ours, with its traceback
            last = str(error).strip().splitlines()[-1][:_MAX_REASON]
            raise HardwareError(
                f"predict: workers must live through a block of rows; got, again and again, {type(error).__name__}: "
                f"{last} Give them more memory, or use fewer (--workers); what was done is kept: run the same command "
                "again."
            ) from error


def _to_row(block: Block) -> dict[str, int]:
    return {name: value for name, value in block._asdict().items() if name != "start"} | block.start._asdict()


def _to_block(row: Mapping[str, int]) -> Block:
    start = Place(*(row[name] for name in Place._fields))
    number, *counts = (row[name] for name in Block._fields if name != "start")
    return Block(number, start, *counts)


def _pool(ray: Any, num_workers: int | None) -> _Pool:
    """How many workers, and what each is given."""
    there = ray.cluster_resources()
    num_gpus, num_cpus = int(there.get("GPU", 0)), max(1, int(there.get("CPU", 1)))
    if num_gpus:
        return _Pool(num_gpus, num_workers or num_gpus, {"num_gpus": 1})
    most = num_workers or num_cpus
    return _Pool(num_cpus, most, {"num_cpus": max(1, num_cpus // most)})


@contextmanager
def _ray() -> Iterator[Any]:
    """Ray, joined or started; what was started is ended."""
    os.environ.update(_ENVIRONMENT)
    if not os.environ.get(ADDRESS):
        os.environ.update(_OWN, RAY_AUTH_TOKEN=secrets.token_hex(32))
    import ray  # noqa: PLC0415  (the extra `ray`; seconds)
    import ray.data  # noqa: PLC0415

    where = None if len(tempfile.gettempdir()) <= _MAX_TEMPORARY else "/tmp"
    with (
        tempfile.TemporaryDirectory(prefix="clsgen-ray-", dir=where, ignore_cleanup_errors=True) as folder,
        _quiet(Path(folder) / "notices"),
    ):
        _start(ray, folder)
        ray._private.worker._worker_logs_enabled = False  # what Ray would print between our lines; no public switch
        try:
            ray.data.DataContext.get_current().enable_progress_bars = False
            yield ray
        finally:
            ray.shutdown()


def _start(ray: Any, folder: str) -> None:
    address = os.environ.get(ADDRESS)
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address:
        try:
            ray.init(address=address, **quiet)
        except ConnectionError as error:
            raise ConfigError(
                f"predict: {ADDRESS} must be a running Ray; got {address!r}. Unset it to start one."
            ) from error
        return
    ray.init(
        address="local",
        num_cpus=len(os.sched_getaffinity(0)),
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        _temp_dir=folder,
        **quiet,
    )


@contextmanager
def _quiet(notices: Path) -> Iterator[None]:
    """Ray's notices into a file, those that its native part writes past Python included: progress is ours to show."""
    logger = logging.getLogger("ray")
    level = logger.level
    kept = os.dup(2)
    with notices.open("wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            logger.setLevel(level)
