"""Whether the files of a model or a run are those that were saved. Loads no model."""

from __future__ import annotations

import json
from pathlib import Path

from clsgen.artifacts import MANIFEST, Difference, compare_manifest, files_below, sha256_of
from clsgen.errors import ArtifactError
from clsgen.pipeline.folder import GROUPS_FILE


def verify(path: Path) -> dict[str, Difference]:
    """Every file of a model directory beside its manifest; of a run, its model and the rows it was made from.

    Args:
        path: A model directory, or a run, also one that asks several questions.

    Returns:
        What was compared, relative to `path` ("." for `path` itself) -> where it differs.

    Raises:
        ArtifactError: Neither, or a manifest is missing or broken.
    """
    if not path.is_dir():
        raise ArtifactError(f"{path} must be a model or run directory; it is no folder. Check the path.")
    if not (path / "config.yaml").is_file():
        return {".": compare_manifest(path)}
    parts = sorted(part for part in (path / "questions").glob("*") if part.is_dir()) or [path]
    found = {}
    for part in parts:
        for folder, difference in ((part / "model", compare_manifest(part / "model")), (part / "data", _rows(part))):
            found[folder.relative_to(path).as_posix()] = difference
    return found


def _rows(run: Path) -> Difference:
    """The rows of a run beside the hashes in its record; the ties between them are made of them and have no hash."""
    file = run / MANIFEST
    try:
        hashes: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))["data_hashes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{file}: the run's record must be readable JSON; {error!r}. Copy the run again.") from None
    names = {f"{role}.jsonl": digest for role, digest in sorted(hashes.items())}
    missing = tuple(name for name in names if not (run / "data" / name).is_file())
    altered = [name for name in names if name not in missing and sha256_of(run / "data" / name) != names[name]]
    extra = {file.relative_to(run / "data").as_posix() for file in files_below(run / "data")} - {*names, GROUPS_FILE}
    return Difference(missing, tuple(altered), tuple(sorted(extra)))
