"""Trainings that are killed, told to stop, crowded out or out of space, each beside one that nothing disturbed."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clsgen.training.checkpoints import last_whole_checkpoint
from trainings import (
    EVERY,
    STEPS,
    assert_same_model,
    environment,
    fault_command,
    in_processes,
    ran,
    small,
    train,
    train_command,
    train_with,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, base) -> Path:
    """Two processes, uninterrupted."""
    settings = small(tmp_path_factory.mktemp("whole") / "r", base)
    done = train(settings, "--launch", "accelerate", "--num-processes", 2)
    assert done.returncode == 0, done.stderr
    return Path(settings.output)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, base) -> Path:
    """One process, uninterrupted."""
    settings = small(tmp_path_factory.mktemp("alone") / "r", base)
    assert train(settings).returncode == 0
    return Path(settings.output)


@pytest.fixture
def undisturbed(request) -> Callable[[int], Path]:
    """The uninterrupted run of so many processes."""
    return lambda processes: request.getfixturevalue("alone" if processes == 1 else "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (("kill", 6, "1"), EVERY),
        (("kill-writing", 8, "1"), EVERY),
        (("kill-writing", 8, "all"), EVERY),
    ],
)
def test_killed_ranks_and_resume_is_uninterrupted(tmp_path, base, whole, fault, found):
    """kill -9 of one rank between two checkpoints, of one or all in the middle of writing one.

    All between two: `test_another_number_of_processes_goes_on`.
    """
    settings = small(tmp_path / "r", base)
    done = train_with(fault, settings, processes=2)
    assert done.returncode == 128 + signal.SIGKILL, done.stderr
    assert "Traceback" not in done.stderr
    lost = "process 0 of 2 lost another one, which was killed or failed"
    assert done.stderr.count(lost) == (fault[2] != "all")
    assert last_whole_checkpoint(tmp_path / "r/checkpoints").name == f"checkpoint-{found}"
    assert (tmp_path / "r/checkpoints/checkpoint-8").is_dir() == (fault[0] == "kill-writing")
    done = train(settings, "--resume", "--launch", "accelerate", "--num-processes", 2)
    assert done.returncode == 0, done.stderr
    assert f"step {found + 1:>5}" in done.stdout
    assert f"step {found:>5}" not in done.stdout
    assert_same_model(whole, tmp_path / "r", tolerance=1e-6)


@pytest.mark.slow
def test_one_process_resumes_to_the_last_bit(tmp_path, base, alone):
    """Killed in the middle of writing a checkpoint, or told to stop."""
    killed, stopped = (small(tmp_path / name, base) for name in ("killed", "stopped"))
    done = train_with(("kill-writing", 8, "0"), killed, processes=1)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "killed/checkpoints/checkpoint-8/optimizer.pt").is_file()
    assert last_whole_checkpoint(tmp_path / "killed/checkpoints").name == "checkpoint-4"
    done = train_with(("term", 6, "0"), stopped, processes=1)
    assert done.returncode == 0, done.stderr
    assert "stopped by SIGTERM after step 6, which is saved. Go on: the same command with --resume." in done.stdout
    assert last_whole_checkpoint(tmp_path / "stopped/checkpoints").name == "checkpoint-6"
    for settings in (killed, stopped):
        assert train(settings, "--resume").returncode == 0
        assert_same_model(alone, Path(settings.output), tolerance=0.0)


@pytest.fixture(scope="module")
def by_epoch(tmp_path_factory, base) -> Path:
    """One process, uninterrupted, with an evaluation and a checkpoint each epoch, as is the default."""
    settings = small(tmp_path_factory.mktemp("by_epoch") / "r", base, eval_steps=None)
    assert train(settings).returncode == 0
    return Path(settings.output)


def _evaluated(run: Path) -> list[int]:
    """Steps with an evaluation, as the last checkpoint tells."""
    last = last_whole_checkpoint(run / "checkpoints")
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return [entry["step"] for entry in history if "eval_loss" in entry]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["within an epoch", "at its end", "at the run's end"])
def test_a_run_stopped_between_its_evaluations_trains_on(tmp_path, base, by_epoch, place):
    """No evaluation is added or left out, and no step: the model is the same to the last bit."""
    steps = _evaluated(by_epoch)
    assert steps[-1] == STEPS
    at = {"within an epoch": steps[0] - 2, "at its end": steps[0], "at the run's end": STEPS}[place]
    settings = small(tmp_path / "r", base, eval_steps=None)
    done = train_with(("term", at, "0"), settings, processes=1)
    assert done.returncode == 0, done.stderr
    assert f"stopped by SIGTERM after step {at}, which is saved." in done.stdout
    assert _evaluated(tmp_path / "r") == [step for step in steps if step <= at]
    assert not (tmp_path / "r/model").exists()
    done = train(settings, "--resume")
    assert done.returncode == 0, done.stderr
    assert _evaluated(tmp_path / "r") == steps
    assert_same_model(by_epoch, tmp_path / "r", tolerance=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["all", "1"])
def test_sigterm_saves_and_leaves_with_0(tmp_path, base, whole, which):
    """To the starter, which passes it on, or to one rank alone."""
    settings = small(tmp_path / "r", base)
    done = train_with(("term", 6, which), settings, processes=2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Go on: the same command with --resume.") == 1
    assert not (tmp_path / "r/model").exists()
    stopped_at = int(last_whole_checkpoint(tmp_path / "r/checkpoints").name.rpartition("-")[2])
    assert stopped_at in (6, 7)
    assert train(settings, "--resume", "--launch", "accelerate", "--num-processes", 2).returncode == 0
    assert_same_model(whole, tmp_path / "r", tolerance=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_disk_that_fills_up_leaves_the_earlier_checkpoint(tmp_path, base, undisturbed, processes):
    """A file system of its own, with room for half of the second checkpoint; then with room again."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("needs a namespace of its own: root, or kernel.unprivileged_userns_clone=1")
    disk, file = tmp_path / "disk", tmp_path / "r.yaml"
    disk.mkdir()
    settings = small(disk / "r", base)
    script = f"""
        mount -t tmpfs -o size=64m none {disk} || exit 90
        {shlex.join(fault_command(("fill", 6, "0"), settings, file, processes))}; echo "first: $?"
        ls {disk}/r/checkpoints; echo "listed"
        rm {disk}/filler
        {shlex.join(train_command(settings, file, "--resume", *in_processes(processes)))}; echo "second: $?"
        cp -r {disk}/r {tmp_path}/copy
    """
    done = ran([*unshare, "sh", "-c", script])
    assert "first: 2\ncheckpoint-4\nlisted\n" in done.stdout, done.stdout + done.stderr
    assert done.stderr.count("checkpoint-8 must be written") == 1, "one process says what is wrong"
    assert "Earlier checkpoints are whole" in done.stderr
    assert "free some space or mend the folder's rights, then run the same command with --resume" in done.stderr
    assert "Traceback" not in done.stderr
    resumed = done.stdout.partition("listed")[2]
    assert "step     5" in resumed
    assert "step     4" not in resumed
    assert "second: 0" in resumed, done.stderr
    assert_same_model(undisturbed(processes), tmp_path / "copy", tolerance=0.0 if processes == 1 else 1e-6)


@pytest.mark.slow
def test_of_two_trainings_at_once_one_goes_on_and_one_says_why_not(tmp_path, base, alone):
    settings = small(tmp_path / "r", base)
    command = train_command(settings, tmp_path / "r.yaml")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment()}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2]
    (refused,) = [error for error, process in zip(errors, both, strict=True) if process.returncode]
    # the second message is that of a start which came when the other one had written its settings
    assert "another process is training in this run directory" in refused or "must be a new run directory" in refused
    assert refused.count("clsgen: error") == 1
    assert "Traceback" not in refused
    assert_same_model(alone, tmp_path / "r", tolerance=0.0)


@pytest.mark.slow
def test_a_killed_training_frees_its_run(tmp_path, base, whole):
    """While it stands still nothing else trains there; kill -9 is enough for the next one."""
    settings = small(tmp_path / "r", base)
    command = fault_command(("wait", 6, "0"), settings, tmp_path / "r.yaml", 2)
    first = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "r/checkpoints/waits").exists():
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        pids = children_of(first.pid)
        assert len(pids) == 2
        done = train(settings, "--resume", *in_processes(2))
        assert done.returncode == 2
        assert done.stderr.count("another process is training in this run directory") == 1
        assert done.stderr.count("clsgen: error") == 1
        assert "Traceback" not in done.stderr
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    finally:
        first.kill()
        first.wait()
    assert train(settings, "--resume", *in_processes(2)).returncode == 0
    assert_same_model(whole, tmp_path / "r", tolerance=1e-6)


def children_of(parent: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
