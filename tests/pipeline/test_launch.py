"""Several processes of one command: started, told of each other, ended together."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

import pytest

from clsgen.config.load import save_config
from clsgen.errors import ConfigError
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.launch import launch
from clsgen.training import ranks
from clsgen.training.checkpoints import last_whole_checkpoint
from trainings import (
    environment,
    in_processes,
    is_free,
    small,
    train_command,
    wait_for,
)


def test_where_one_process_fails_the_others_are_ended(tmp_path):
    program = "import os, sys, time; time.sleep(60 if os.environ['RANK'] == '0' else 0); sys.exit(7)"
    started = time.monotonic()
    assert launch([sys.executable, "-c", program], num_processes=2) == 7
    assert time.monotonic() - started < 30


def test_every_process_knows_its_place(tmp_path):
    program = (
        "import os, pathlib, sys; e = os.environ; "
        "pathlib.Path(sys.argv[1], e['RANK']).write_text(' '.join(e[n] for n in "
        "('LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR')))"
    )
    assert launch([sys.executable, "-c", program, str(tmp_path)], num_processes=3) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        str(rank): f"{rank} 3 3 127.0.0.1" for rank in range(3)
    }


def test_a_process_that_was_killed_is_told_of():
    """By a signal of its own; one that all were sent is known to whoever sent it."""
    found: list[tuple[int, str]] = []
    program = (
        "import os, signal, time; os.environ['RANK'] == '1' and os.kill(os.getpid(), signal.SIGKILL); time.sleep(60)"
    )
    code = launch(
        [sys.executable, "-c", program], num_processes=2, on_killed=lambda rank, name: found.append((rank, name))
    )
    assert (code, found) == (128 + signal.SIGKILL, [(1, "SIGKILL")])
    found.clear()
    program = "import os, signal, time; time.sleep(1); os.kill(os.getppid(), 15); time.sleep(60)"
    code = launch(
        [sys.executable, "-c", program], num_processes=2, on_killed=lambda rank, name: found.append((rank, name))
    )
    assert (code, found) == (128 + signal.SIGTERM, [])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system tells of the starter's end")
def test_a_killed_starter_leaves_no_process_behind(tmp_path, base):
    """Its processes save a checkpoint and stop, as for SIGTERM."""
    settings = small(tmp_path / "r", base, max_steps=100_000)
    with (tmp_path / "told").open("w") as told:
        command = train_command(settings, tmp_path / "r.yaml", *in_processes(2))
        starter = subprocess.Popen(command, stdout=told, stderr=told, env=environment())
    try:
        wait_for(lambda: last_whole_checkpoint(tmp_path / "r/checkpoints") is not None)
    finally:
        starter.kill()
        starter.wait()
    wait_for(lambda: "Go on: the same command with --resume." in (tmp_path / "told").read_text())
    wait_for(lambda: is_free(tmp_path / "r/lock"))
    assert "stopped by SIGTERM after step" in (tmp_path / "told").read_text()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"WORLD_SIZE": "2", "RANK": "0"}, "LOCAL_RANK, MASTER_ADDR, MASTER_PORT must then be set too"),
        ({"WORLD_SIZE": "two"}, "RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT must then be set too"),
        (
            {"WORLD_SIZE": "2", "RANK": "x", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
            "RANK must be a whole number; got 'x'",
        ),
    ],
)
def test_half_a_place_is_refused(monkeypatch, place, message):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        ranks.join()


def alone_at(port: int, *, seconds: float) -> subprocess.Popen:
    """The first of two processes, of which the other never comes; it waits so long for it."""
    program = (
        "import datetime, sys; from clsgen.training import ranks; from clsgen.cli.main import app; from clsgen.errors "
        f"import ClsgenError; ranks.MEET = datetime.timedelta(seconds={seconds}); print('waits', flush=True)\n"
        "try: ranks.join()\nexcept ClsgenError as error: sys.exit(str(error))"
    )
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", program], env=environment(**place), **streams)


@pytest.mark.slow
def test_a_peer_that_never_comes_is_an_error_and_sigterm_ends_the_wait():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with alone_at(port, seconds=2) as waits:
        told = waits.communicate(timeout=100)[1]
    assert f"2 processes must meet at 127.0.0.1:{port} within" in told
    assert "Traceback" not in told
    with alone_at(port, seconds=600) as waits:
        assert waits.stdout.readline() == "waits\n"
        time.sleep(2)
        waits.terminate()
        assert waits.wait(timeout=20) == -signal.SIGTERM


def test_launch_within_launch_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match="--launch starts the processes itself"):
        launch(["true"], num_processes=2)


def test_num_processes_without_launch_is_refused(tmp_path, command, base):
    save_config(small(tmp_path / "r", base), tmp_path / "r.yaml")
    ran = command("train", tmp_path / "r.yaml", "--num-processes", 2)
    assert ran.code == 2
    assert "--num-processes goes with --launch accelerate" in ran.err
    assert not RunFolder(tmp_path / "r").path.exists()
