"""Human evaluation of runs: makes a study, writes its answers as a table, and says what they amount to."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clsgen.artifacts import sha256_of, write_json_atomic, write_text_atomic
from clsgen.config.prediction import EvaluateSettings
from clsgen.data.predictions import read_predictions
from clsgen.errors import ArtifactError, ConfigError, RestrictedError
from clsgen.evaluation.measure_review import Answered, review_figures
from clsgen.pipeline.folder import RunFolder
from clsgen.serve.guard import hashed
from clsgen.serve.review.draw import draw_items
from clsgen.serve.review.store import AnswerStore
from clsgen.serve.review.study import (
    PREFERENCE,
    QUESTIONS,
    Study,
    is_complete,
    read_keys,
    read_study,
    write_study,
)
from clsgen.types import Example, Prediction, TaskSpec

_COLUMNS = ("reviewer", "item", "kind", "row_id", "group", "label", "stratum", "share", "model", "other_model")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class StudySettings:
    """How a study is made.

    Attributes:
        reviewers: Their names.
        num_rows: Rows of the study.
        num_checks: Items that show whether reasons are read.
        title: What reviewers see.
        seed: Of the draws and orders.
        shows_text: Make a study of restricted texts too.
    """

    reviewers: tuple[str, ...]
    num_rows: int = 40
    num_checks: int = 4
    title: str = "Review"
    seed: int = 0
    shows_text: bool = False


def create_study(runs: Sequence[Path], folder: Path, settings: StudySettings) -> dict[str, str]:
    """Make a blinded study of runs that were evaluated with reasons.

    Args:
        runs: Run directories of one task with the same test rows; strata are those of the first.
        folder: Where the study goes.
        settings: How it is made.

    Returns:
        Reviewer -> token; only its hash is kept.

    Raises:
        ArtifactError: A run without predictions, or a study is there already.
        ConfigError: Names that are not distinct, no rows, fewer checks than none, or runs of other tasks.
        DataError: Too few rows with reasons.
        RestrictedError: Restricted texts, and settings don't show them.
    """
    _check_names("reviewers", settings.reviewers)
    if settings.num_rows < 1:
        raise ConfigError(f"review: rows must be 1 or more; got {settings.num_rows}. Say how many to review.")
    if settings.num_checks < 0:
        raise ConfigError(f"review: checks must be 0 or more; got {settings.num_checks}. 0 puts none among the items.")
    folders = [RunFolder(run) for run in runs]
    names = [each.path.resolve().name for each in folders]
    _check_names("runs", names)
    spec, examples = _task_of(folders, shows_text=settings.shows_text)
    predictions = {name: _predictions_of(each) for name, each in zip(names, folders, strict=True)}
    drawn = draw_items(
        predictions, examples, num_rows=settings.num_rows, num_checks=settings.num_checks, seed=settings.seed
    )
    tokens = {name: secrets.token_urlsafe(24) for name in settings.reviewers}
    study = Study(
        title=settings.title,
        instruction=spec.instruction,
        labels=spec.labels,
        reviewers={name: hashed(token) for name, token in tokens.items()},
        seed=settings.seed,
        items=drawn.items,
        is_restricted=spec.is_restricted,
    )
    hashes = {name: sha256_of(each.predictions) for name, each in zip(names, folders, strict=True)}
    write_study(folder, study, drawn.keys, hashes)
    return tokens


def _check_names(what: str, names: Sequence[str]) -> None:
    if not names or len(set(names)) != len(names) or not all(name.strip() for name in names):
        raise ConfigError(f"review: {what} must be distinct names, one or more; got {', '.join(names) or 'none'}.")


def _task_of(folders: Sequence[RunFolder], *, shows_text: bool) -> tuple[TaskSpec, list[Example]]:
    specs = [each.spec() for each in folders]
    if any((each.labels, each.instruction) != (specs[0].labels, specs[0].instruction) for each in specs):
        raise ConfigError("review: runs must be of one task, with the same labels and instruction; they are not.")
    if any(each.is_restricted for each in specs) and not shows_text:
        raise RestrictedError("review: a study holds the texts, and these are restricted. Say so with --show-text.")
    return specs[0], folders[0].rows("test")


def _predictions_of(folder: RunFolder) -> list[Prediction]:
    if not folder.predictions.is_file():
        raise ArtifactError(f"{folder.predictions} must be there; it is not. Run: clsgen eval {folder.path}")
    return read_predictions(folder.predictions)


def answers_of(folder: Path) -> list[Answered]:
    """Every answer of a study with what reviewers did not know, by reviewer and time.

    Raises:
        ArtifactError: There is no study, or its answers can't be read.
    """
    items = {item.id: item for item in read_study(folder).items}
    keys, _ = read_keys(folder)
    return [
        Answered(
            reviewer=given.reviewer,
            item=given.item,
            kind=items[given.item].kind,
            answer=given.answer,
            is_complete=is_complete(items[given.item].kind, given.answer),
            seconds=given.seconds,
            row_id=keys[given.item].row_id,
            group=keys[given.item].group,
            models=keys[given.item].models,
            decisions=tuple(each.decision for each in items[given.item].shown),
            label=keys[given.item].label,
            stratum=keys[given.item].stratum,
            share=keys[given.item].share,
            comment=given.comment,
            answered_at=given.answered_at,
        )
        for given in AnswerStore(folder / "answers.sqlite").latest()
    ]


def export_answers(folder: Path, file: Path) -> int:
    """Write a CSV table of the answers, a row each; gives their number.

    Raises:
        ArtifactError: There is no study, or the file can't be written.
    """
    answers = answers_of(folder)
    questions = [each.name for each in (*QUESTIONS, PREFERENCE)]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*_COLUMNS, *questions, "comment", "seconds", "answered_at"])
    for each in answers:
        models = (*each.models, "")[:2] if len(each.models) < 2 else each.models
        when = datetime.fromtimestamp(each.answered_at, UTC).isoformat(timespec="seconds")
        row = [each.reviewer, each.item, each.kind, each.row_id, each.group, each.label, each.stratum, each.share]
        choices = [each.answer.get(name, "") for name in questions]
        writer.writerow([*row, *models, *choices, _safe(each.comment), round(each.seconds, 1), when])
    write_text_atomic(file, out.getvalue(), is_private=True)
    return len(answers)


def _safe(comment: str) -> str:
    """Free text that no spreadsheet takes for a formula."""
    return f"'{comment}" if comment.startswith(_FORMULA) else comment


def analyze_study(
    folder: Path, *, runs: Sequence[Path] = (), min_checks: float = 0.0, settings: EvaluateSettings | None = None
) -> dict[str, Any]:
    """Say what the answers of a study amount to, and write review.json into it.

    Args:
        folder: The study.
        runs: Run directories of its models; each gets the figures too, for its report.
        min_checks: Reviewers who passed a smaller share of the checks that they completed are left out; above 0 also
            who completed none.
        settings: Draws, confidence, seed; None: their defaults.

    Raises:
        ArtifactError: There is no study, a run is none of its models, or nothing was answered.
        ConfigError: Checks must be passed in a study that has none.
    """
    study = read_study(folder)
    if min_checks > 0 and not any(item.kind == "check" for item in study.items):
        raise ConfigError(f"review: min_checks must be 0, as {folder} has no checks; got {min_checks:g}. Leave it out.")
    _, models = read_keys(folder)
    answers = answers_of(folder)
    if not any(each.is_complete for each in answers):
        raise ArtifactError(f"{folder} must hold an answered item; it holds none. Let reviewers answer first.")
    found = review_figures(
        answers,
        models=list(models),
        questions={each.name: each.choices for each in QUESTIONS},
        min_checks=min_checks,
        settings=settings or EvaluateSettings(),
    )
    result = {"title": study.title, "num_items": len(study.items), **found}
    of_runs = [(run, _model_of(run, models)) for run in runs]
    write_json_atomic(folder / "review.json", result, is_private=study.is_restricted)
    for run, model in of_runs:
        own = {"model": model, "predictions_sha256": models[model], **result}
        write_json_atomic(run / "review.json", own, is_private=study.is_restricted)
    return result


def _model_of(run: Path, models: Mapping[str, str]) -> str:
    """The study's model whose predictions the run holds."""
    file = RunFolder(run).predictions
    found = [name for name, digest in models.items() if file.is_file() and sha256_of(file) == digest]
    if not found:
        raise ArtifactError(f"{file} must be what was reviewed; it is not. Give a run of the study.")
    return found[0]
