"""Trainings in processes of their own, one or several (gloo), with faults, and what must be equal of two of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from clsgen.artifacts import locked
from clsgen.config.load import save_config
from clsgen.config.run import RunConfig
from clsgen.errors import ArtifactError

STEPS, EVERY = 12, 4

FAULT = """
import os, signal, sys, time
from pathlib import Path
import clsgen.cli.train_here as command
from clsgen.training.trainer import DualTrainer
from transformers import TrainerCallback
what, at, which = sys.argv[1], int(sys.argv[2]), sys.argv[3]
mine = which in ("all", os.environ.get("RANK", "0"))

def fill(folder):
    # room for half a checkpoint is left on the disk
    size = sum(path.stat().st_size for path in (folder / "checkpoint-4").iterdir())
    with (folder.parent.parent / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            filler.truncate(filler.tell() - size // 2)

class Fault(command.TrainingDisplay):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == at and mine:
            if what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "read-only":
                os.seteuid(65534)
            if what == "fill":
                fill(Path(args.output_dir))
            if what == "infinite":
                kwargs["model"].head.weight.data[0, 0] = float("inf")
            if what == "wait":
                Path(args.output_dir, "waits").touch()
                time.sleep(600)
            if what == "term":
                os.kill(os.getppid() if which == "all" and "RANK" in os.environ else os.getpid(), signal.SIGTERM)
                time.sleep(0.5)

if what == "kill-writing":
    write = DualTrainer._save_rng_state
    def killed(self, folder):
        if self.state.global_step == at and mine:
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, folder)
    DualTrainer._save_rng_state = killed

if what == "term-preparing":
    import clsgen.pipeline.train as training
    prepared = training._prepared
    def told(config):
        if mine:
            os.kill(os.getppid() if which == "all" else os.getpid(), signal.SIGTERM)
        time.sleep(3)
        return prepared(config)
    training._prepared = told
if what == "term-beginning":
    import clsgen.pipeline.train as training
    begin = training._begin_all
    def told(*arguments, **options):
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(3)
        begin(*arguments, **options)
    training._begin_all = told
if what == "term-optimizer":
    create = DualTrainer.create_optimizer
    def told(self, *arguments):
        if mine:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)
        return create(self, *arguments)
    DualTrainer.create_optimizer = told

command.TrainingDisplay = Fault
from clsgen.cli.main import main
sys.argv = ["clsgen", *sys.argv[4:]]
main()
"""


def small(output: Path, base: Path, *, dropout: float = 0.1, tuning: str = "lora", **train: object) -> RunConfig:
    """A LoRA run of 12 steps over more than one epoch, with dropout: the random state of each rank matters."""
    return RunConfig.model_validate(
        {
            "output": str(output),
            "data": {"task": "synthetic-notes", "num_rows": 100},
            "model": {
                "init": "pretrained",
                "backbone": str(base),
                "tuning": tuning,
                "max_length_tokens": 480,
                "max_explanation_tokens": 200,
                "lora": {"rank": 4, "dropout": dropout},
            },
            "train": {
                "max_steps": STEPS,
                "eval_steps": EVERY,
                "batch_size": 4,
                "precision": "float32",
                "num_monitor_explanations": 1,
                "patience": None,
                "log_steps": 1,
                "learning_rate": 0.01,
                **train,
            },
            "evaluate": {"num_bootstrap": 100},
        }
    )


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **changes}


def train(settings: RunConfig, *options: object) -> subprocess.CompletedProcess:
    """`clsgen train` on the settings, in a process of its own."""
    return ran(train_command(settings, Path(f"{settings.output}.yaml"), *options))


def train_with(fault: tuple[str, int, str], settings: RunConfig, processes: int) -> subprocess.CompletedProcess:
    """The same with a fault; see `fault_command`."""
    return ran(fault_command(fault, settings, Path(f"{settings.output}.yaml"), processes))


def ran(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)


def train_command(settings: RunConfig, file: Path, *options: object) -> list[str]:
    """`clsgen train` on the settings, which are written to the file."""
    save_config(settings, file)
    return [sys.executable, "-m", "clsgen", "train", str(file), *map(str, options)]


def fault_command(fault: tuple[str, int, str], settings: RunConfig, file: Path, processes: int) -> list[str]:
    """A training with a fault of (kind, step, rank); several processes are started as `--launch` starts them."""
    save_config(settings, file)
    program = file.with_suffix(".py")
    program.write_text(FAULT)
    command = [sys.executable, str(program), *map(str, fault), "train", str(file)]
    if processes > 1:
        starter = "import sys; from clsgen.pipeline.launch import launch; "
        starter += f"sys.exit(launch(sys.argv[1:], num_processes={processes}))"
        command = [sys.executable, "-c", starter, *command]
    return command


def in_processes(number: int) -> list[object]:
    """The options that start so many."""
    return ["--launch", "accelerate", "--num-processes", number] if number > 1 else []


def assert_same_model(first: Path, second: Path, *, tolerance: float) -> None:
    """Weights, calibrator and threshold of two runs."""
    files = sorted(path.name for path in (first / "model").glob("*.safetensors"))
    assert len(files) == 2
    for file in files:
        one, other = (load_file(run / "model" / file) for run in (first, second))
        assert one.keys() == other.keys()
        worst = max(float((one[name] - other[name]).abs().max()) for name in one)
        assert worst <= tolerance
        assert max(float(tensor.abs().max()) for tensor in one.values()) > 0
    for file in ("calibrator.json", "decision.json"):
        one, other = (numbers(json.loads((run / "model" / file).read_text())) for run in (first, second))
        assert one == pytest.approx(other, abs=max(tolerance, 1e-300) * 10)
    one, other = (evaluations(run) for run in (first, second))
    assert [entry["step"] for entry in one] == [entry["step"] for entry in other]
    for left, right in zip(one, other, strict=True):
        assert left["eval_loss"] == pytest.approx(right["eval_loss"], abs=tolerance * 10)


def numbers(value) -> list[float]:
    """Every number of a JSON value, in order."""
    if isinstance(value, dict):
        return [number for each in value.values() for number in numbers(each)]
    if isinstance(value, list):
        return [number for each in value for number in numbers(each)]
    return [float(value)] if isinstance(value, int | float) else []


def evaluations(run: Path) -> list[dict]:
    history = json.loads((run / "manifest.json").read_text())["history"]
    return [entry for entry in history if "eval_loss" in entry]


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_free(lock: Path) -> bool:
    try:
        with locked(lock, doing="training"):
            return True
    except ArtifactError:
        return False
