"""Several real processes give the gradients of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny

WORKER = """
import json
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

folder, found = Path(sys.argv[3]), []
for number, (rows, batch_size, accumulation) in enumerate(json.loads(sys.argv[5])):
    own = []
    built = tiny.dual(folder / "base")
    watcher = StepGradients(built.model)
    trainer = trainer_for(
        built, ROWS[rows](unequal_rows(built.renderer)), folder / f"{sys.argv[4]}-{number}", callbacks=[watcher],
        batch_size=batch_size, gradient_accumulation=accumulation, max_steps=1,
    )
    trainer.__class__ = Watched
    trainer.train()
    found.append({"gradients": watcher.steps[0], "shares": gathered(own[0])})
if is_first():
    torch.save(found, folder / f"{sys.argv[4]}.pt")
leave()
"""

ROWS = {
    "eight": lambda rows: rows[:8],
    "one a term": lambda rows: [rows[1], rows[3]],  # no explanation; no label
}
CUTS = {
    1: [("eight", 8, 1), ("one a term", 8, 1)],
    2: [("eight", 4, 1), ("eight", 2, 2), ("eight", 1, 4), ("one a term", 1, 1)],
    3: [("eight", 2, 2), ("one a term", 1, 1)],
}
"""Processes -> rows, batch size, accumulation; of one process, the step that the others are held against."""


def steps(folder: Path, processes: int) -> list[dict]:
    """One optimizer step a cut: its gradient, and (explanation tokens, labelled rows) of each process."""
    here = Path(__file__)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"),
        *(str(folder / "worker.py"), str(here.parents[1]), str(here.parent), str(folder)),
        *(str(processes), json.dumps(CUTS[processes])),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = torch.load(folder / f"{processes}.pt", weights_only=True)
    assert len(found) == len(CUTS[processes])
    return found


@pytest.mark.slow
def test_the_gradient_does_not_depend_on_the_number_of_processes(tmp_path):
    """The same rows as one batch, and cut over processes and accumulated batches, blank rows in the rest of them.

    "one a term": a process has no label at all, another no explanation, a third one nothing.
    """
    tiny.save("llama", tmp_path / "base")
    (tmp_path / "worker.py").write_text(WORKER)
    whole = {rows: found for (rows, *_), found in zip(CUTS[1], steps(tmp_path, 1), strict=True)}
    for processes in (2, 3):
        for cut, found in zip(CUTS[processes], steps(tmp_path, processes), strict=True):
            expected = whole[cut[0]]
            names = sorted(expected["gradients"])
            one, other = (
                torch.cat([each["gradients"][name].flatten() for name in names]) for each in (expected, found)
            )
            ((num_tokens, num_labels),) = expected["shares"]
            shares = found["shares"]
            assert one.norm() > 0.1
            assert len(set(map(tuple, shares))) == len(shares), "the processes must have unequal shares"
            assert [sum(share) for share in zip(*shares, strict=True)] == [num_tokens, num_labels]
            assert sorted(found["gradients"]) == names
            assert (one - other).norm() <= 1e-5 * one.norm(), (processes, cut)
