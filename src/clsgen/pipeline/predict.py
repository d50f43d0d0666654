"""Predictions for the user's own file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from clsgen.artifacts import sha256_of
from clsgen.config.data import ColumnSettings
from clsgen.data.columns import ReadExamples
from clsgen.data.source import read_examples
from clsgen.data.split import components
from clsgen.inference.asked import Predictor
from clsgen.inference.batch import QuestionRows, predict_file, predict_files
from clsgen.inference.panel import Panel
from clsgen.pipeline.model_folder import columns_of
from clsgen.pipeline.predict_blocks import PredictedFile
from clsgen.types import Explain, ExplanationMode


def rows_of_panel(panel: Panel, source: str, columns: Mapping[str, object]) -> dict[str, ReadExamples]:
    """Name -> the rows of a source as each question's run would read them.

    Args:
        panel: The models, loaded from their directories.
        source: As for `predict_source`.
        columns: Columns that replace those of the run: text, question, id, group.

    Raises:
        DataError: A missing column, a broken line, a duplicate id.
    """
    return {
        name: read_examples(
            source,
            columns_of(model, source).model_copy(update=dict(columns)),
            labels=panel.classifiers[name].labels,
            needs_label=False,
        )
        for name, model in panel.folders.items()
    }


def predict_panel(
    panel: Panel,
    rows: Mapping[str, ReadExamples],
    folder: Path,
    *,
    explain: tuple[Explain, ExplanationMode],
    on_progress: Callable[[int, int], None] | None = None,
) -> PredictedFile:
    """Predict rows for each question of a run, into `folder/NAME.jsonl`.

    Args:
        panel: The models.
        rows: What `rows_of_panel` gives.
        folder: Where the files go.
        explain: For which rows a reason is written, and in which mode.
        on_progress: Called with (rows done, rows in all).
    """
    questions = {
        name: QuestionRows(each.examples, sha256_of(panel.folders[name] / "manifest.json"))
        for name, each in rows.items()
    }
    num_resumed = predict_files(panel, questions, folder, explain=explain, on_progress=on_progress)
    first = next(iter(rows.values()))
    return PredictedFile(len(first.examples), num_resumed, first.dropped)


def predict_source(
    classifier: Predictor,
    model: Path,
    source: str,
    output: Path,
    *,
    columns: ColumnSettings,
    explain: Explain,
    mode: ExplanationMode,
    prior: Sequence[float] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> PredictedFile:
    """Predict every row of a csv, tsv, jsonl(.gz), parquet file or data set.

    Args:
        classifier: The model, loaded from `model`.
        model: Its directory.
        source: The rows.
        output: The jsonl file to write; see `predict_file`.
        columns: Which column is what; a label column is copied where there is one.
        explain: For which rows a reason is written.
        mode: Explanation mode.
        prior: Prevalence of each label where the rows come from.
        on_progress: Called with (rows done, rows in all).

    Raises:
        DataError: A missing column, a broken line, a duplicate id.
    """
    found = read_examples(source, columns, labels=classifier.labels, needs_label=False)
    group_of = components(found.examples)
    num_resumed = predict_file(
        classifier,
        found.examples,
        output,
        explain=explain,
        mode=mode,
        prior=prior,
        groups={row.id: f"g{group}" for row, group in zip(found.examples, group_of, strict=True)},
        model_hash=sha256_of(model / "manifest.json"),
        on_progress=on_progress,
    )
    return PredictedFile(len(found.examples), num_resumed, found.dropped)
