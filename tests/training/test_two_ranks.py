"""Two real processes give the gradients of one."""

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
folder = Path(sys.argv[3])
built = tiny.dual(folder / "base")
rows = unequal_rows(built.renderer)[:8]
watcher = StepGradients(built.model)
trainer = trainer_for(built, rows, folder / "c", callbacks=[watcher], batch_size=int(sys.argv[4]), max_steps=1)
trainer.train()
if trainer.is_world_process_zero():
    torch.save(watcher.steps[0], folder / f"gradients-{sys.argv[4]}.pt")
if torch.distributed.is_initialized():  # gloo's threads abort a process that leaves without saying so
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_ranks_give_the_gradients_of_one(tmp_path):
    """8 unequal rows as one batch of 8, and as 4 on each of two processes (gloo)."""
    tiny.save("llama", tmp_path / "base")
    (tmp_path / "worker.py").write_text(WORKER)
    here = Path(__file__)
    gradients = []
    for processes, batch_size in ((1, 8), (2, 4)):
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"),
            *(str(tmp_path / "worker.py"), str(here.parents[1]), str(here.parent), str(tmp_path), str(batch_size)),
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        gradients.append(torch.load(tmp_path / f"gradients-{batch_size}.pt", weights_only=True))
    one, two = (torch.cat([found[name].flatten() for name in sorted(found)]) for found in gradients)
    assert one.norm() > 0.1
    assert (one - two).norm() <= 1e-5 * one.norm()
