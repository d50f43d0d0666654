"""Several real processes give the gradients of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny

WORKER = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import torch
import tiny
from pathlib import Path
from test_trainer import OBJECTIVE, StepGradients, trainer_for, unequal_rows
from test_two_ranks import ROWS
from clsgen.data.batch import UNLABELLED
from clsgen.training.ranks import gathered, is_first, leave
from clsgen.training.trainer import DualTrainer

class Watched(DualTrainer):
    def get_batch_samples(self, *arguments):
        batches, counts = super().get_batch_samples(*arguments)
        num_labels = sum(int((batch["labels_B"] != UNLABELLED).sum()) for batch in batches)
        own.append([sum(len(batch["target_N"]) for batch in batches), num_labels])
        return batches, counts

folder, own = Path(sys.argv[3]), []
name, rows, batch_size, accumulation = sys.argv[4:8]
built = tiny.dual(folder / "base")
watcher = StepGradients(built.model)
trainer = trainer_for(
    built, ROWS[rows](unequal_rows(built.renderer)), folder / name, callbacks=[watcher],
    batch_size=int(batch_size), gradient_accumulation=int(accumulation), max_steps=1,
)
trainer.__class__ = Watched
trainer.train()
shares = gathered(own[0])
if is_first():
    torch.save({"gradients": watcher.steps[0], "shares": shares}, folder / f"{name}.pt")
leave()
"""

ROWS = {
    "eight": lambda rows: rows[:8],
    "one a term": lambda rows: [rows[1], rows[3]],  # no explanation; no label
}


def step(folder: Path, rows: str, processes: int, batch_size: int, accumulation: int) -> dict:
    """One optimizer step: its gradient, and (explanation tokens, labelled rows) of each process."""
    name = f"{processes}-{batch_size}-{accumulation}"
    here = Path(__file__)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"),
        *(str(folder / "worker.py"), str(here.parents[1]), str(here.parent), str(folder)),
        *(name, rows, str(batch_size), str(accumulation)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / f"{name}.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "cuts"),
    [
        ("eight", [(2, 4, 1), (2, 2, 2), (2, 1, 4), (3, 2, 2)]),
        ("one a term", [(2, 1, 1), (3, 1, 1)]),
    ],
)
def test_the_gradient_does_not_depend_on_the_number_of_processes(tmp_path, rows, cuts):
    """The same rows as one batch, and cut into (processes, batch size, accumulation), blank rows in the rest of them.

    "one a term": a process has no label at all, another no explanation, a third one nothing.
    """
    tiny.save("llama", tmp_path / "base")
    (tmp_path / "worker.py").write_text(WORKER)
    whole = step(tmp_path, rows, 1, 8, 1)
    names = sorted(whole["gradients"])
    one = torch.cat([whole["gradients"][name].flatten() for name in names])
    assert one.norm() > 0.1
    ((num_tokens, num_labels),) = whole["shares"]
    for cut in cuts:
        found = step(tmp_path, rows, *cut)
        shares = found["shares"]
        assert len(set(map(tuple, shares))) == len(shares), "the processes must have unequal shares"
        assert [sum(share) for share in zip(*shares, strict=True)] == [num_tokens, num_labels]
        assert sorted(found["gradients"]) == names
        other = torch.cat([found["gradients"][name].flatten() for name in names])
        assert (one - other).norm() <= 1e-5 * one.norm(), cut
