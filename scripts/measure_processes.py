"""What two processes change: the gradient of a step, which must be that of one, and rows a second.

    python scripts/measure_processes.py [--steps 30]

Each process is pinned to a core of its own and has one thread; one process alone has one core as well. The model is a
scratch Llama on synthetic notes; both runs read the same rows a step (8 a process and forward).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from clsgen.config.run import RunConfig
from clsgen.pipeline.launch import launch
from clsgen.pipeline.prepare import prepare
from clsgen.pipeline.questions import task_of
from clsgen.training.objective import objective_of, training_arguments
from clsgen.training.ranks import is_first, join, leave
from clsgen.training.trainer import DualTrainer

ROWS = 16
"""A step's rows, over all processes."""
WARM_STEPS = 3


class Watch(TrainerCallback):
    """Keeps the first step's gradient, and the moment when each step ended."""

    def __init__(self) -> None:
        self.gradient = torch.zeros(0)
        self.ends: list[float] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the gradient, once."""
        if not self.ends:
            named = sorted(kwargs["model"].named_parameters())
            self.gradient = torch.cat([each.grad.flatten() for _, each in named if each.grad is not None]).clone()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the clock."""
        self.ends.append(time.perf_counter())


def settings(folder: Path, *, num_steps: int, num_processes: int) -> RunConfig:
    """The same steps, whatever the number of processes."""
    train = {"max_steps": num_steps, "batch_size": 8, "gradient_accumulation": ROWS // 8 // num_processes}
    fixed = {"precision": "float32", "num_monitor_explanations": 0, "eval_steps": num_steps, "max_grad_norm": 1e9}
    return RunConfig.model_validate(
        {
            "output": str(folder / "run"),
            "data": {"task": "synthetic-notes", "num_rows": 1000},
            "model": {
                "init": "scratch",
                "tuning": "full",
                "max_length_tokens": 320,
                "scratch": {"vocabulary": 2000, "width": 128, "num_layers": 4, "num_heads": 4},
            },
            "train": {**train, **fixed},
        }
    )


def work(folder: Path, *, num_steps: int, num_processes: int) -> None:
    """One process of a run; the first one writes what it saw."""
    os.sched_setaffinity(0, {int(os.environ["RANK"]) % (os.cpu_count() or 1)})
    join()
    config = settings(folder, num_steps=num_steps, num_processes=num_processes)
    prepared, watch = prepare(config), Watch()
    task = task_of(config, {"": prepared})
    DualTrainer(
        task.model,
        training_arguments(config.train, folder / str(num_processes), has_validation=False),
        train_rows=task.train,
        validation_rows=[],
        objective=objective_of(config.train, None),
        pad_id=prepared.built.pad_id,
        callbacks=[watch],
    ).train()
    seconds = watch.ends[-1] - watch.ends[WARM_STEPS - 1]
    if is_first():
        torch.save(watch.gradient, folder / f"{num_processes}.pt")
        rate = (num_steps - WARM_STEPS) * ROWS / seconds
        (folder / f"{num_processes}.json").write_text(json.dumps({"rows_per_second": rate}))
    leave()


def main() -> None:
    """Run one process, then two, and print both as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(Path(options.worker[0]), num_steps=options.steps, num_processes=int(options.worker[1]))
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for num_processes in (1, 2):
            command = [sys.executable, __file__, "--steps", str(options.steps), "--worker", name, str(num_processes)]
            if code := launch(command, num_processes=num_processes):
                sys.exit(code)
        one, two = (torch.load(folder / f"{number}.pt", weights_only=True) for number in (1, 2))
        rates = [json.loads((folder / f"{number}.json").read_text())["rows_per_second"] for number in (1, 2)]
    print(
        json.dumps(
            {
                "gradient_difference": float((one - two).norm() / one.norm()),
                "rows_per_second_1": round(rates[0], 2),
                "rows_per_second_2": round(rates[1], 2),
                "speedup": round(rates[1] / rates[0], 2),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
