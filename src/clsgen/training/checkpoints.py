"""Checkpoints that are whole or passed over: sealed with the hashes of their files when all of them are written."""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers.trainer_utils import rotate_checkpoints

from clsgen.artifacts import MANIFEST, check_manifest, make_folder, write_manifest
from clsgen.errors import ArtifactError, TrainingError

_CUT_SHORT = "inline_container"
"""In what `torch.save` says where the disk took less than a file; the rest of it are positions in that file."""


def begin(folder: Path) -> None:
    """Make an empty folder for a checkpoint; what killed processes left half written is removed.

    A half-written one of a later step would else count as the newest when superfluous ones are removed.

    Raises:
        ArtifactError: It can't be made.
    """
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    for other in folder.parent.glob("checkpoint-*"):
        if other != folder and not (other / MANIFEST).is_file():
            shutil.rmtree(other, ignore_errors=True)


def seal(folder: Path, *, num_kept: int, best: str | None) -> None:
    """Call a checkpoint whole, and then remove those that it makes superfluous.

    Args:
        folder: The checkpoint, every file written.
        num_kept: Checkpoints that stay beside it, itself included.
        best: Path of the best one, which stays as well.

    Raises:
        ArtifactError: The seal can't be written.
    """
    write_manifest(folder)
    rotate_checkpoints(str(folder.parent), save_total_limit=num_kept, best_model_checkpoint=best)


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; None where there is none.

    One without a seal was cut off and is passed over.

    Raises:
        ArtifactError: It was whole once, and its files are others now.
    """
    found = [path for path in folder.glob("checkpoint-*") if (path / MANIFEST).is_file()]
    if not found:
        return None
    newest = max(found, key=lambda path: int(path.name.rpartition("-")[2]))
    try:
        check_manifest(newest)
    except ArtifactError as error:
        raise ArtifactError(f"{error} Or delete {newest.name}, to go on from the checkpoint before it.") from None
    return newest


def check_best(folder: Path) -> None:
    """Refuse the best checkpoint where its files are not those that it was sealed with.

    Raises:
        ArtifactError: They were altered, or are gone.
    """
    try:
        check_manifest(folder)
    except ArtifactError as error:
        raise ArtifactError(f"{error} {folder.name} is the best checkpoint: without it, train anew.") from None


def unwritten(folder: Path, error: Exception) -> TrainingError:
    """The error of a checkpoint that could not be written."""
    why = "a file was cut short, as on a full disk" if _CUT_SHORT in str(error) else str(error)
    return TrainingError(
        f"train: checkpoint {folder.name} must be written; {why}. Earlier checkpoints are whole: free some space or "
        "mend the folder's rights, then run the same command with --resume."
    )
