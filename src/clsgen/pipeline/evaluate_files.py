"""Judges anybody's predictions, from a file: no model is loaded, nor torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsgen.artifacts import make_folder, write_json_atomic
from clsgen.config.prediction import EvaluateSettings
from clsgen.data.prediction_columns import read_prediction_columns
from clsgen.data.predictions import read_predictions
from clsgen.data.scores import ScoreColumns, read_scores
from clsgen.errors import ConfigError, DataError
from clsgen.evaluation.evaluate import Context, evaluate, evaluate_table
from clsgen.evaluation.table import table_of_columns, table_of_scores
from clsgen.types import TaskSpec


def evaluate_file(source: Path, output: Path, *, positive: str | None = None) -> dict[str, Any]:
    """Judge a file of predictions as it is; what needs documents or training words is null, with its reason.

    Args:
        source: predictions.jsonl, anybody's.
        output: Folder that metrics.json goes to.
        positive: Two classes: the positive label; None: the second one.

    Raises:
        DataError: A broken line, a duplicate id, a probability outside [0, 1], or an unknown positive label.
    """
    predictions = read_predictions(source)
    result = evaluate(predictions, _spec(source, tuple(predictions[0].probs), positive), settings=EvaluateSettings())
    make_folder(output)
    write_json_atomic(output / "metrics.json", result)
    return result


def evaluate_shards(source: Path, output: Path, *, positive: str | None = None) -> dict[str, Any]:
    """Judge parquet files of predictions: any number of rows, of which no text is held.

    Args:
        source: A file, a folder or a glob, as `clsgen predict --engine ray` writes them.
        output: Folder that metrics.json goes to.
        positive: As for `evaluate_file`.

    Raises:
        DataError: A file, column or value that can't be used, or an unknown positive label.
    """
    columns = read_prediction_columns(str(source))
    table = table_of_columns(columns, _spec(source, columns.labels, positive))
    result = evaluate_table(table, settings=EvaluateSettings(), known=Context(), columns={})
    make_folder(output)
    write_json_atomic(output / "metrics.json", result)
    return result


def _spec(source: Path, labels: tuple[str, ...], positive: str | None) -> TaskSpec:
    """The task of anybody's predictions."""
    if len(labels) == 2 and positive is None:
        positive = labels[1]
    if positive is not None and (positive not in labels or len(labels) > 2):
        raise DataError(f"{source}: positive must be one of two labels; got {positive!r} with {list(labels)}.")
    return TaskSpec(source.stem, labels, instruction="", positive=positive)


def evaluate_scores(
    source: Path,
    output: Path,
    columns: ScoreColumns,
    *,
    settings: EvaluateSettings,
    threshold: float = 0.5,
) -> dict[str, Any]:
    """Judge columns of a csv, tsv or parquet file: anybody's probabilities, of any number of rows.

    Args:
        source: The file.
        output: Folder that metrics.json goes to.
        columns: Which column is what.
        threshold: Two classes: the positive label is decided from here upwards.
        settings: Draws, confidence, bins, seed.

    Raises:
        DataError: A file, column or value that can't be used.
        ConfigError: A threshold outside [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"eval: threshold must be from 0 to 1; got {threshold!r}. 0.5 is the default.")
    scores = read_scores(source, columns)
    if len(scores.labels) > 2 and threshold != 0.5:
        raise ConfigError(
            "eval: threshold must be left out with more than two labels; the largest probability decides."
        )
    spec = TaskSpec(source.stem, scores.labels, instruction="", positive=scores.positive)
    table = table_of_scores(scores, spec, threshold=threshold)
    result = evaluate_table(table, settings=settings, known=Context(), columns=scores.by)
    make_folder(output)
    write_json_atomic(output / "metrics.json", result)
    return result
