"""Two processes beside one: rows a second, a core each, and the gradient of a step, which must be the same.

    python scripts/measure_processes.py                         # needs two idle cores; minutes
    python scripts/measure_processes.py --rounds 1 --steps 5    # a look; writes nothing

Each process is pinned to a core of its own and has one thread; one process alone has one core as well. The model is a
scratch Llama on synthetic notes; both sides read the same rows a step, 8 a process and forward. The sides take turns,
and so does the one that begins. Writes docs/benchmarks/processes.json and processes.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import TrainerCallback

from clsgen.artifacts import write_json_atomic, write_text_atomic
from clsgen.config.run import RunConfig
from clsgen.pipeline.launch import launch
from clsgen.pipeline.machine import environment, num_cores
from clsgen.pipeline.prepare import prepare
from clsgen.pipeline.questions import task_of
from clsgen.training.objective import objective_of, training_arguments
from clsgen.training.ranks import first, gathered, join, leave, num_ranks
from clsgen.training.trainer import DualTrainer

FIGURES, PAGE = Path("docs/benchmarks/processes.json"), Path("docs/benchmarks/processes.md")
NUM_ROUNDS, NUM_STEPS = 5, 30
BAR, TOLERANCE = 1.6, 1e-5
"""Times the rows a second of one process, at least; and how far gradients may be apart, of their norm."""
ROWS = 16
"""A step's rows, over all processes."""
WARM_STEPS = 3


class Round(NamedTuple):
    """rows_per_second: by number of processes. apart: norm of the gradients' difference over that of one process's."""

    rows_per_second: dict[int, float]
    apart: float


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


def main() -> None:
    """Measure in rounds, print, and keep what was measured in full."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=NUM_ROUNDS)
    parser.add_argument(
        "--steps", type=int, default=NUM_STEPS, help=f"of each process; the first {WARM_STEPS} are warm-up"
    )
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps <= WARM_STEPS or options.rounds < 1:
        parser.error(f"--steps must be above {WARM_STEPS}, and --rounds 1 or more")
    if options.worker is not None:
        work(options.worker, num_steps=options.steps)
        return
    if num_cores() < 2:
        parser.error("two cores are needed, one a process")
    found = result([measured(number, num_steps=options.steps) for number in range(options.rounds)])
    print(json.dumps(found, indent=2))
    if (options.rounds, options.steps) == (NUM_ROUNDS, NUM_STEPS):
        write_json_atomic(FIGURES, found)
        write_text_atomic(PAGE, page(found))


def measured(number: int, *, num_steps: int) -> Round:
    """Both sides, one after the other."""
    rates: dict[int, float] = {}
    gradients: dict[int, torch.Tensor] = {}
    os.environ["OMP_NUM_THREADS"] = "1"
    for num_processes in (1, 2) if number % 2 == 0 else (2, 1):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--steps", str(num_steps), "--worker", folder]
            if code := launch(command, num_processes=num_processes):
                sys.exit(code)
            gradients[num_processes] = torch.load(f"{folder}/gradient.pt", weights_only=True)
            rates[num_processes] = json.loads(Path(folder, "rate.json").read_text())
    one, two = gradients[1], gradients[2]
    if not one.norm() > 0:
        raise AssertionError("there is no gradient to compare")
    return Round(rates, float((one - two).norm() / one.norm()))


def work(folder: Path, *, num_steps: int) -> None:
    """One process of a run; the first one writes what all of them saw."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ["RANK"])]})
    torch.set_num_threads(1)
    join()
    config = settings(folder, num_steps=num_steps)
    prepared, watch = prepare(config), Watch()
    task = task_of(config, {"": prepared})
    DualTrainer(
        task.model,
        training_arguments(config.train, folder / "checkpoints", has_validation=False),
        train_rows=task.train,
        validation_rows=[],
        objective=objective_of(config.train, None),
        pad_id=prepared.built.pad_id,
        callbacks=[watch],
    ).train()
    slowest = max(gathered(watch.ends[-1] - watch.ends[WARM_STEPS - 1]))
    first(lambda: write(folder, watch.gradient, (num_steps - WARM_STEPS) * ROWS / slowest))
    leave()


def write(folder: Path, gradient: torch.Tensor, rows_per_second: float) -> None:
    """What a run gave, for the process that started it."""
    torch.save(gradient, folder / "gradient.pt")
    (folder / "rate.json").write_text(json.dumps(rows_per_second))


def settings(folder: Path, *, num_steps: int) -> RunConfig:
    """The same steps, whatever the number of processes."""
    train = {"max_steps": num_steps, "batch_size": 8, "gradient_accumulation": ROWS // 8 // num_ranks()}
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


def result(rounds: Sequence[Round]) -> dict[str, Any]:
    """The figures in the form of the other benchmarks."""
    ratios = [each.rows_per_second[2] / each.rows_per_second[1] for each in rounds]
    ratio, apart = statistics.median(ratios), max(each.apart for each in rounds)
    medians = {n: statistics.median(each.rows_per_second[n] for each in rounds) for n in (1, 2)}
    about = environment()
    row = {
        "row": "train-two-processes",
        "peer": "one process on one core",
        "measures": "rows a second",
        "direction": "two / one",
        "ratio": ratio,
        "ratios": ratios,
        "bar": BAR,
        "met": ratio >= BAR and apart <= TOLERANCE,
        "figures": {"rows_per_second_1": medians[1], "rows_per_second_2": medians[2]},
        "difference": apart,
        "command": "python scripts/measure_processes.py",
    }
    machine = {"cores": about["cores"], "torch": about["packages"]["torch"], "threads": "1 a process, pinned to a core"}
    return {"machine": machine, "rows": [row]}


def page(found: dict[str, Any]) -> str:
    """The figures as a page."""
    about = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    (row,) = found["rows"]
    one, two = row["figures"].values()
    met = "yes" if row["met"] else "no"
    return (
        "# Two processes beside one\n\n"
        f"Measured on: {about}. A scratch Llama on synthetic notes, {ROWS} rows a step, DDP over gloo; the sides take "
        f"turns, and the ratio is the median of {len(row['ratios'])} rounds. The gradients are those of the first "
        "step; shown is the largest difference of all rounds, as a share of their norm. "
        f"`{row['command']}` measures all of it.\n\n"
        "| row | one process, rows/s | two, rows/s | ratio | spread | bar | met | gradients differ by |\n"
        "|---|---|---|---|---|---|---|---|\n"
        f"| {row['row']} | {one:.1f} | {two:.1f} | {row['ratio']:.2f} | {min(row['ratios']):.2f} to "
        f"{max(row['ratios']):.2f} | >= {row['bar']:.2f} | {met} | {row['difference']:.1e} |\n"
    )


if __name__ == "__main__":
    main()
