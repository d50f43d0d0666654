"""Whole checkpoints, half-written ones, and which of them stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsgen.errors import ArtifactError
from clsgen.training.checkpoints import begin, check_best, last_whole_checkpoint, seal, unwritten


def written(folder: Path, step: int, *, num_kept: int = 1, best: str | None = None) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    begin(checkpoint)
    (checkpoint / "weights").write_text(f"those of step {step}")
    seal(checkpoint, num_kept=num_kept, best=best)
    return checkpoint


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def half_written(folder: Path, step: int) -> None:
    (folder / f"checkpoint-{step}").mkdir()
    (folder / f"checkpoint-{step}" / "weights").write_text("half")


@pytest.mark.parametrize("num_kept", [1, 2])
def test_a_half_written_one_of_a_later_step_costs_no_whole_one(tmp_path: Path, num_kept: int) -> None:
    """Killed while writing step 8, resumed from 4, stopped at 6: 6 is the newest one that is whole."""
    written(tmp_path, 4)
    half_written(tmp_path, 8)
    written(tmp_path, 6, num_kept=num_kept)
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-6"
    assert names(tmp_path) == ({"checkpoint-6"} if num_kept == 1 else {"checkpoint-4", "checkpoint-6"})


def test_what_was_half_written_of_the_same_step_is_begun_anew(tmp_path: Path) -> None:
    half_written(tmp_path, 4)
    (tmp_path / "checkpoint-4" / "rng_state_1.pth").write_text("of a process that is no more")
    assert names(written(tmp_path, 4)) == {"weights", "manifest.json"}


def test_the_best_one_stays_beside_the_newest(tmp_path: Path) -> None:
    best = written(tmp_path, 2)
    for step in (4, 6):
        written(tmp_path, step, best=str(best))
    assert names(tmp_path) == {"checkpoint-2", "checkpoint-6"}


def test_the_best_one_must_be_as_it_was_sealed(tmp_path: Path) -> None:
    best = written(tmp_path, 2)
    check_best(best)
    (best / "weights").write_text("others")
    with pytest.raises(ArtifactError, match="altered: weights.*checkpoint-2 is the best checkpoint: without it, train"):
        check_best(best)
    with pytest.raises(ArtifactError, match="checkpoint-9 is the best checkpoint"):
        check_best(tmp_path / "checkpoint-9")


def test_a_file_that_torch_could_not_finish_is_named_in_words(tmp_path: Path) -> None:
    """Its own message tells positions in a file alone."""
    error = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 15671680 vs 15671568")
    told = str(unwritten(tmp_path / "checkpoint-8", error))
    assert "checkpoint-8 must be written; a file was cut short, as on a full disk. Earlier" in told
    assert "No space left on device." in str(unwritten(tmp_path, OSError("No space left on device")))
