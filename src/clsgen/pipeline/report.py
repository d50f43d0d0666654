"""Joins a run's files into one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clsgen.artifacts import sha256_of
from clsgen.data.predictions import read_predictions
from clsgen.errors import ArtifactError
from clsgen.model.calibrator import CALIBRATION
from clsgen.pipeline.evaluate import is_predicted
from clsgen.pipeline.folder import RunFolder
from clsgen.report.cases import NUM_EACH
from clsgen.report.results import Results
from clsgen.report.write import write_report


def report_run(run: Path, *, show_text: bool = False, num_each: int = NUM_EACH) -> list[Path]:
    """Write report.html, report.json and the figures of a run that was evaluated.

    Args:
        run: The run directory.
        show_text: Put documents and reasons of restricted data into the page; those of other data always are.
        num_each: Most rows to read of each kind.

    Returns:
        The files written, the page first.

    Raises:
        ArtifactError: No run directory, or one that was not evaluated since.
    """
    folder = RunFolder(run)
    results = results_of(folder, show_text=show_text)
    settings = folder.config().evaluate
    return write_report(run, results, settings=settings, num_each=num_each)


def results_of(folder: RunFolder, *, show_text: bool) -> Results:
    """The results of a run that was evaluated.

    Raises:
        ArtifactError: No run directory, or one that was not evaluated since.
    """
    config = folder.config()
    for file in (folder.metrics, folder.predictions):
        if not file.is_file():
            raise ArtifactError(f"{file} must be there; it is not. Run: clsgen eval {folder.path}")
    if not is_predicted(folder):
        raise ArtifactError(
            f"{folder.metrics} must be of the model and the predictions beside it; it is not, or was made by an "
            f"earlier version. Run: clsgen eval {folder.path}"
        )
    metrics = _read(folder.metrics)
    predictions = read_predictions(folder.predictions)
    record, spec = _read(folder.model / "clsgen.json"), folder.spec()
    beside, stale = _beside(folder)
    return Results(
        name=folder.path.resolve().name,
        spec=spec,
        predictions=predictions,
        test=folder.rows("test"),
        metrics=metrics,
        manifest=_read(folder.manifest),
        settings=config.model_dump(mode="json"),
        model={
            "base": record["base"],
            "tuning": record["tuning"],
            "calibrator": {"fitted_on": CALIBRATION, **_read(folder.model / "calibrator.json")},
            "decision": _read(folder.model / "decision.json"),
        },
        comparison=beside.get("comparison.json"),
        review=beside.get("review.json"),
        more={
            name: entry
            for file in ("evidence.json", "judge.json")
            for name, entry in beside.get(file, {}).get("figures", {}).items()
        },
        stale=stale,
        shows_text=show_text or not spec.is_restricted,
    )


def _beside(folder: RunFolder) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """What other commands wrote of these predictions, by file; and the files that are of earlier ones."""
    now = sha256_of(folder.predictions)
    files = [folder.path / name for name in ("comparison.json", "evidence.json", "judge.json", "review.json")]
    found = {file.name: _read(file) for file in files if file.is_file()}
    stale = tuple(name for name, record in found.items() if record.get("predictions_sha256") != now)
    return {name: record for name, record in found.items() if name not in stale}, stale


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file} must be readable JSON; {error}. Train or evaluate the run again.") from error
    return found
