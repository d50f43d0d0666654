"""The processes of one training run: how they meet, agree on an error, and part."""

from __future__ import annotations

import datetime
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from torch import distributed

from clsgen.errors import ClsgenError, PeerError, RunStopped

T = TypeVar("T")

WAIT = datetime.timedelta(hours=1)
"""Longest that a process waits for the others, such as for the first one's reasons at an evaluation."""


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
    """Meet the other processes, where a launcher started several (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT)."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # else accelerate warns
        PartialState(cpu=not torch.cuda.is_available(), timeout=WAIT)


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
