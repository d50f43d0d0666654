"""The processes of one training run: how they meet, agree on an error, and part."""

from __future__ import annotations

import datetime
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from clsgen.errors import ClsgenError, ConfigError, PeerError, RunStopped, TrainingError

T = TypeVar("T")

WAIT = datetime.timedelta(hours=1)
"""Longest that a process waits for the others, such as for the first one's reasons at an evaluation."""
MEET = datetime.timedelta(minutes=10)
"""Longest that a process waits for the others to start."""
_PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class _Turn:
    """What a process does by itself, and a request to stop that came while it met the others."""

    def __init__(self) -> None:
        self.is_own = False
        self.told: RunStopped | None = None

    def take(self, action: Callable[[], T]) -> T:
        """Do it, unless this process was told to stop."""
        self.is_own = True
        try:
            self.obey()
            return action()
        finally:
            self.is_own = False

    def obey(self) -> None:
        """Stop, where this process was told to."""
        if self.told is not None:
            told, self.told = self.told, None
            raise told


_turn = _Turn()


def stop(told: RunStopped) -> None:
    """Stop this process where the others learn of it: at once, or in the next part of `together`, or in `obey`.

    Who stops in the middle of an exchange breaks it for the others.

    Raises:
        RunStopped: At once: this process is alone, or does something by itself.
    """
    _turn.told = told
    if num_ranks() == 1 or _turn.is_own:
        _turn.obey()


def forget() -> None:
    """Leave a request to stop to whoever else heard of it."""
    _turn.told = None


def obey() -> None:
    """End where the others have left, and this process was told to stop before they did.

    Raises:
        RunStopped: It was.
    """
    _turn.obey()


def join() -> None:
    """Meet the other processes, where a launcher started several (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT).

    Raises:
        ConfigError: A variable is missing, or no number.
        TrainingError: The others did not come.
    """
    if not _is_one_of_several() or distributed.is_initialized():
        return
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # else accelerate warns
    with _mortal():
        try:
            store, number, size = next(rendezvous("env://", timeout=MEET))
            place = {"store": PrefixStore("clsgen", store), "rank": number, "world_size": size}
            PartialState(cpu=not torch.cuda.is_available(), timeout=WAIT, **place)
        except distributed.DistError as error:
            raise TrainingError(
                f"train: {os.environ['WORLD_SIZE']} processes must meet at {os.environ['MASTER_ADDR']}:"
                f"{os.environ['MASTER_PORT']} within {MEET.seconds // 60} minutes; {_first_line(error)}. Start all of "
                "them, with an address that each can reach and a free port."
            ) from error


def _is_one_of_several() -> bool:
    """Whether a launcher says so, and where the others are.

    Raises:
        ConfigError: It says so, and not where.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return False
    missing = [name for name in _PLACE if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"train: WORLD_SIZE={os.environ['WORLD_SIZE']} says that this is one of several processes, and "
            f"{', '.join(missing)} must then be set too. Start them by --launch, torchrun or srun, or unset WORLD_SIZE."
        )
    wrong = [name for name in _PLACE if name != "MASTER_ADDR" and not os.environ[name].isdecimal()]
    if wrong:
        raise ConfigError(f"train: {wrong[0]} must be a whole number; got {os.environ[wrong[0]]!r}. Set or unset it.")
    return True


@contextmanager
def _mortal() -> Iterator[None]:
    """Within it a signal to stop ends this process at once: Python's own handlers would wait for the others too."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def missing_peers() -> Iterator[None]:
    """Within it, an exchange that another process left in the middle is an error in one sentence.

    Raises:
        TrainingError: Another process is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if num_ranks() == 1 or not (isinstance(error, distributed.DistError) or "/gloo/" in str(error)):
            raise
        raise TrainingError(
            f"train: process {rank()} of {num_ranks()} lost another one, which was killed or failed; "
            f"{_first_line(error)}. Go on: the same command with --resume."
        ) from None


def _first_line(error: Exception) -> str:
    """What a library says first, without its file names and advice."""
    return str(error).partition("\n")[0].rpartition("] ")[2].partition(". This")[0].strip().rstrip(".")


def end_at_once() -> None:
    """End this process with 0 where it is one of several that stopped together.

    Gloo's threads may still wait for a peer that has left, and the interpreter would wait for them for ever.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def leave() -> None:
    """Part from the others, when all have come to this; each goes on, or ends, by itself."""
    if distributed.is_initialized():
        distributed.barrier()  # gloo's threads abort a process whose peers left in the middle
        distributed.destroy_process_group()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            AcceleratorState._reset_state(reset_partial_state=True)


def num_ranks() -> int:
    """How many processes train together; 1 where there is no other."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """This process among them, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def together(action: Callable[[], T]) -> T:
    """Do it in every process; an error of one is an error of all, and one that is told to stop stops all.

    Raises:
        ClsgenError: In the first process that failed, its error.
        PeerError: In the others.
        RunStopped: In all of them, where one was told to stop and none failed.
    """
    if num_ranks() == 1:
        return action()
    result: list[T] = []
    error: ClsgenError | None = None
    try:
        result.append(_turn.take(action))
    except ClsgenError as raised:
        error = raised
    found = gathered(None if error is None else (str(error), isinstance(error, RunStopped)))
    ended = [(number, *each) for number, each in enumerate(found) if each is not None]
    failed = [(number, message) for number, message, is_stop in ended if not is_stop]
    if failed and failed[0][0] == rank():
        assert error is not None
        raise error
    if failed:
        raise PeerError(f"process {failed[0][0]} of the run failed: {failed[0][1]}")
    if ended:
        raise RunStopped(ended[0][1])
    return result[0]


def first(action: Callable[[], T]) -> T:
    """Do it in the first process while the others wait; all get its result, which must be plain values.

    Raises:
        ClsgenError: In the first process, its error.
        PeerError: In the others.
        RunStopped: As for `together`.
    """
    result = together(lambda: action() if rank() == 0 else None)
    if num_ranks() == 1:
        return result  # type: ignore[return-value]
    sent: list[Any] = [result]
    distributed.broadcast_object_list(sent, src=0)
    shared: T = sent[0]
    return shared


def gathered(value: T) -> list[T]:
    """What every process has, by rank."""
    if num_ranks() == 1:
        return [value]
    found: list[Any] = [None] * num_ranks()
    distributed.all_gather_object(found, value)
    return found


def any_of(is_so: bool) -> bool:
    """Whether it is so in any process; all of them ask at the same moment."""
    if num_ranks() == 1:
        return is_so
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    found = torch.tensor([int(is_so)], device=device)
    distributed.all_reduce(found, op=distributed.ReduceOp.MAX)
    return bool(found.item())


def is_first() -> bool:
    """Whether this process is the one that writes and tells; true to the end, after the others have left."""
    return int(os.environ.get("RANK", "0")) == 0
