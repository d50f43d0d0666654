"""Training in several real processes (gloo), with whole weights or spread ones, ends where one process does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clsgen.config.load import save_config
from clsgen.errors import ConfigError
from clsgen.pipeline.train import train_run
from clsgen.training.checkpoints import last_whole_checkpoint
from trainings import (
    STEPS,
    assert_same_model,
    environment,
    in_processes,
    small,
    train,
    train_with,
)

ONE = {"learning_rate": 1e-3, "dropout": 0.0}
"""What the runs of one process and of several have in common; two processes accumulate half as often."""


@pytest.fixture(scope="module")
def one(tmp_path_factory, base) -> Callable[[str], Path]:
    """A run of one process by its tuning, made when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("one"), {}

    def run_of(tuning: str) -> Path:
        if tuning not in made:
            settings = small(folder / tuning, base, gradient_accumulation=2, tuning=tuning, **ONE)
            done = train(settings)
            assert done.returncode == 0, done.stderr
            made[tuning] = Path(settings.output)
        return made[tuning]

    return run_of


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_two_processes_end_where_one_does(tmp_path, base, one, tuning):
    """Over epochs whose last batches do not go into two: twice the accumulation in one process is the same run.

    Activations are computed anew in the two: another order of sums, whose rounding Adam's first steps make as large as
    the learning rate.
    """
    two = small(tmp_path / "two", base, gradient_checkpointing=True, tuning=tuning, **ONE)
    num_batches = -(-sum(json.loads((one(tuning) / "manifest.json").read_text())["rows"]["train"].values()) // 4)
    assert num_batches % 2 == 1, "the last step must have a batch for one process alone"
    assert num_batches / 2 < STEPS
    done = train(two, "--launch", "accelerate", "--num-processes", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Calibrating") == 1, "one process tells"
    assert (last_whole_checkpoint(tmp_path / "two/checkpoints") / "rng_state_1.pth").is_file()
    assert_same_model(one(tuning), tmp_path / "two", tolerance=1e-5)


@pytest.mark.slow
def test_torchrun_starts_it_as_well(tmp_path, base):
    settings = small(tmp_path / "r", base, max_steps=2, eval_steps=2)
    save_config(settings, tmp_path / "r.yaml")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "clsgen.cli"]
    options = {"capture_output": True, "text": True, "env": environment(GLOO_SOCKET_IFNAME="lo"), "timeout": 300}
    done = subprocess.run([*command, "train", str(tmp_path / "r.yaml")], **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Model: ") == 1
    assert (tmp_path / "r/model/clsgen.json").is_file()
    done = subprocess.run([*command, "train", str(tmp_path / "r.yaml")], **options)
    assert done.returncode != 0
    assert done.stderr.count("output must be a new run directory") == 1, "one process says what is wrong"


@pytest.mark.slow
def test_another_number_of_processes_goes_on(tmp_path, base, one):
    """Two processes begin, one goes on with twice the accumulation: the same steps over the same rows."""
    begun = small(tmp_path / "r", base, **ONE)
    assert train_with(("kill", 6, "all"), begun, processes=2).returncode == 128 + signal.SIGKILL
    with pytest.raises(ConfigError, match=r"steps of 2 batches as before.*Set train.gradient_accumulation=2\."):
        train_run(begun, is_resumed=True)
    refused = train(begun, "--resume", *in_processes(3))
    assert refused.returncode == 2
    assert "3 processes can't share. Start one of these numbers of them: 1, 2." in refused.stderr
    done = train(small(tmp_path / "r", base, gradient_accumulation=2, **ONE), "--resume")
    assert done.returncode == 0, done.stderr
    assert_same_model(one("lora"), tmp_path / "r", tolerance=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_spread_weights_end_where_one_process_does(tmp_path, base, one, tuning):
    spread = small(tmp_path / "spread", base, gradient_checkpointing=True, tuning=tuning, **ONE)
    done = train(spread, "--launch", "accelerate", "--num-processes", 2, "--fsdp")
    assert done.returncode == 0, done.stderr
    assert "FSDP: no explanation is written while training" in done.stdout
    assert_same_model(one(tuning), tmp_path / "spread", tolerance=1e-5)


@pytest.mark.slow
def test_a_checkpoint_of_spread_weights_is_resumed_by_one_process(tmp_path, base, one):
    """And one of two plain processes by spread ones: a checkpoint does not tell who wrote it."""
    spread = small(tmp_path / "r", base, fsdp=True, tuning="full", **ONE)
    assert train_with(("kill", 6, "1"), spread, processes=2).returncode == 128 + signal.SIGKILL
    assert last_whole_checkpoint(tmp_path / "r/checkpoints").name == "checkpoint-4"
    alone = small(tmp_path / "r", base, gradient_accumulation=2, tuning="full", **ONE)
    assert train(alone, "--resume").returncode == 0
    assert_same_model(one("full"), tmp_path / "r", tolerance=1e-5)
    plain = small(tmp_path / "p", base, tuning="full", **ONE)
    assert train_with(("kill", 6, "1"), plain, processes=2).returncode == 128 + signal.SIGKILL
    done = train(plain, "--resume", "--launch", "accelerate", "--num-processes", 2, "--fsdp")
    assert done.returncode == 0, done.stderr
    assert_same_model(one("full"), tmp_path / "p", tolerance=1e-5)


@pytest.mark.parametrize(
    ("tuning", "message"), [("lora", "must be false in a run of one process"), ("full", "must be false")]
)
def test_one_process_has_nothing_to_spread_over(tmp_path, base, tuning, message):
    with pytest.raises(ConfigError, match=message):
        train_run(small(tmp_path / "r", base, tuning=tuning, fsdp=True))
    assert not (tmp_path / "r").exists()
