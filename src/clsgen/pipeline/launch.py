"""Several processes of one command on this machine: started, told to stop, and ended together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from clsgen.errors import ConfigError
from clsgen.training.starter import STARTER

POLL_SECONDS = 0.1
GRACE_SECONDS = 5.0
"""How long the others have to say what is wrong, where one process failed."""


def launch(
    command: Sequence[str], *, num_processes: int, on_killed: Callable[[int, str], None] = lambda rank, name: None
) -> int:
    """Run the command once a rank, and pass SIGTERM and SIGINT on to all of them.

    Args:
        command: Program and arguments; each process finds its place in RANK, LOCAL_RANK and WORLD_SIZE.
        num_processes: How many; on a machine with GPUs, one a GPU at most.
        on_killed: Called with rank and signal, as in SIGKILL, of a process that was ended by one of its own.

    Returns:
        0 where all left with 0; else 128 + number where a signal ended one, or the status of the first that failed.

    Raises:
        ConfigError: There are fewer GPUs, or this process is one of several already.
    """
    if "RANK" in os.environ:
        raise ConfigError("train: --launch starts the processes itself; this is one of several already. Leave it out.")
    import torch  # noqa: PLC0415  (seconds; it is asked for the GPUs alone)

    if torch.cuda.is_available() and num_processes > torch.cuda.device_count():
        raise ConfigError(
            f"train: --num-processes must be {torch.cuda.device_count()} or less, one a GPU; got {num_processes}."
        )
    processes: list[subprocess.Popen[bytes]] = []
    passed_on: set[int] = set()

    def pass_on(number: int, frame: Any) -> None:
        passed_on.add(number)
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    with ExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGINT):
            stack.callback(signal.signal, number, signal.signal(number, pass_on))
        stack.callback(_end, processes)
        shared = _environment(num_processes) | {STARTER: str(os.getpid())}
        for rank in range(num_processes):
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            processes.append(subprocess.Popen(command, env={**shared, **place}, start_new_session=True))
        failed = _wait(processes)
        for rank, code in failed.items():
            if code < 0:
                if -code not in passed_on:
                    on_killed(rank, signal.Signals(-code).name)
                return 128 - code
        return next(iter(failed.values()), 0)


def ranks_command(arguments: Sequence[str]) -> list[str]:
    """The command line of each process: clsgen with these arguments, in this interpreter."""
    return [sys.executable, "-m", "clsgen.cli", *arguments]


def _environment(num_processes: int) -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    defaults = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // num_processes))}
    if sys.platform == "linux":
        defaults["GLOO_SOCKET_IFNAME"] = "lo"  # else gloo looks the host's name up, which a laptop may not know
    place = {"WORLD_SIZE": num_processes, "LOCAL_WORLD_SIZE": num_processes, "MASTER_PORT": port}
    return {**defaults, **os.environ, "MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in place.items()}}


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> dict[int, int]:
    """Until all have left, or some have failed: rank -> status of these, as Popen has it; others fail after them."""
    while True:
        codes = [process.poll() for process in processes]
        failed = {rank: code for rank, code in enumerate(codes) if code}
        if failed:
            deadline = time.monotonic() + GRACE_SECONDS
            while time.monotonic() < deadline and any(process.poll() is None for process in processes):
                time.sleep(POLL_SECONDS)
            return failed
        if all(code == 0 for code in codes):
            return {}
        time.sleep(POLL_SECONDS)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """No process outlives the others."""
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
