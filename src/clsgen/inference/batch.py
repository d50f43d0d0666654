"""Predictions for a file: in order, length-bucketed, resumable; no row is lost when the process dies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

from clsgen.artifacts import locked
from clsgen.data.plan import RowsHash
from clsgen.data.split import components
from clsgen.errors import ArtifactError
from clsgen.inference.asked import Predictor
from clsgen.inference.panel import Panel
from clsgen.inference.partial import WINDOW, WRITING, Wanted, check_seal, json_lines, keeping, seal_of, with_groups
from clsgen.types import Example, Explain, ExplanationMode, Prediction


def predict_file(
    classifier: Predictor,
    examples: Sequence[Example],
    output: Path,
    *,
    explain: Explain,
    mode: ExplanationMode = "free",
    prior: Sequence[float] | None = None,
    groups: Mapping[str, str] | None = None,
    model_hash: str = "",
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write one JSON line an example to `output`, in their order.

    Lines go to `<output>.partial` first, each window synced to disk; the file takes its name when it is whole. The
    plan of batches is derived from the input alone, so a resumed run writes the same bytes.

    Args:
        classifier: The model.
        examples: Rows, ids unique.
        output: The file; an existing one is replaced when the new one is whole.
        explain: For which rows a reason is written.
        mode: Explanation mode.
        prior: Prevalence of each label where the texts come from.
        groups: Example id -> group id, written to each line where known.
        model_hash: Identifies the model, so that another one's partial file is not continued.
        on_progress: Called with (rows done, rows in all) after each window.

    Returns:
        Rows found already done by an earlier, killed run.

    Raises:
        ConfigError: Options that don't suit the model; no file is touched.
        DataError: Rows that can't be read; no file is touched.
        ArtifactError: A partial file of another model, input or setting is in the way, or the disk is full.
    """
    classifier.check_options(explain=explain, mode=mode, prior=prior)
    classifier.check_rows(examples)
    wanted = Wanted.of(explain, mode, prior)
    rows_hash, margin = _rows_hash(examples), classifier.uncertain_margin
    sealed = seal_of(wanted, model_hash=model_hash, rows_hash=rows_hash, margin=margin)
    with _written(output, sealed, is_private=classifier.spec.is_restricted) as file:
        for start in range(file.num_resumed, len(examples), WINDOW):
            file.add(
                classifier.predict(examples[start : start + WINDOW], explain=explain, mode=mode, prior=prior), groups
            )
            if on_progress is not None:
                on_progress(min(start + WINDOW, len(examples)), len(examples))
    return file.num_resumed


class QuestionRows(NamedTuple):
    """examples: rows with the question's own labels. model_hash: identifies its model."""

    examples: Sequence[Example]
    model_hash: str


def predict_files(
    panel: Panel,
    questions: Mapping[str, QuestionRows],
    folder: Path,
    *,
    explain: tuple[Explain, ExplanationMode],
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """The same for several questions: `folder/NAME.jsonl` each, every text read once for all of them.

    Args:
        panel: The models.
        questions: Name -> rows, the same texts in the same order for each.
        folder: Where the files go.
        explain: For which rows a reason is written, and in which mode.
        on_progress: Called with (rows done, rows in all) after each window.

    Returns:
        Rows found already done, of the question that has fewest.

    Raises:
        ConfigError, ArtifactError: As for `predict_file`.
    """
    wanted, mode = explain
    explained = panel.explained(wanted, mode)
    for name, (rows, _) in questions.items():
        panel.classifiers[name].check_rows(rows)
    texts = next(iter(questions.values())).examples
    groups = {row.id: f"g{group}" for row, group in zip(texts, components(texts), strict=True)}
    with ExitStack() as stack:
        files: dict[str, _File] = {}
        for name, (rows, model_hash) in questions.items():
            asked, margin = Wanted(explained[name], mode), panel.classifiers[name].uncertain_margin
            seal = seal_of(asked, model_hash=model_hash, rows_hash=_rows_hash(rows), margin=margin)
            is_private = panel.classifiers[name].spec.is_restricted
            files[name] = stack.enter_context(_written(folder / f"{name}.jsonl", seal, is_private=is_private))
        num_resumed = min(file.num_resumed for file in files.values())
        for start in range(num_resumed, len(texts), WINDOW):
            found = panel.predict(texts[start : start + WINDOW], explain=wanted, mode=mode)
            for name, file in files.items():
                if start >= file.num_resumed:
                    labelled = zip(found[name], questions[name].examples[start : start + WINDOW], strict=True)
                    file.add([replace(prediction, label=row.label) for prediction, row in labelled], groups)
            if on_progress is not None:
                on_progress(min(start + WINDOW, len(texts)), len(texts))
    return num_resumed


class _File(NamedTuple):
    """A file of predictions that is being written. num_resumed: rows found done."""

    handle: BinaryIO
    num_resumed: int

    def add(self, predictions: Sequence[Prediction], groups: Mapping[str, str] | None) -> None:
        """Append a window's lines, and sync them to disk."""
        self.handle.writelines(json_lines(with_groups(predictions, groups)))
        self.handle.flush()
        os.fsync(self.handle.fileno())


@contextmanager
def _written(output: Path, fingerprint: Mapping[str, object], *, is_private: bool) -> Iterator[_File]:
    """A file of predictions, going on where a killed run stopped; it takes its name when all went well.

    Raises:
        ArtifactError: A partial file of another model, input or setting is in the way, or the disk is full.
    """
    partial = output.with_name(output.name + ".partial")
    seal = output.with_name(output.name + ".partial.json")
    if partial.is_dir():
        raise ArtifactError(
            f"{partial}: a partial result of another engine is in the way. Finish that run, or delete it."
        )
    with keeping(output, partial), locked(partial, doing=WRITING, is_private=is_private) as handle:
        yield _File(handle, _keep_whole_windows(handle, seal, fingerprint, is_private=is_private))
        partial.replace(output)
        seal.unlink()


def _keep_whole_windows(handle: BinaryIO, seal: Path, fingerprint: Mapping[str, object], *, is_private: bool) -> int:
    """Rows of an earlier, killed run that stand; the file is cut back to whole windows."""
    if check_seal(seal, fingerprint, is_private=is_private):
        data = handle.read()
        lines = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
        kept = len(lines) // WINDOW * WINDOW
    else:
        lines, kept = [], 0
    handle.truncate(sum(len(line) for line in lines[:kept]))
    handle.seek(0, os.SEEK_END)
    return kept


def _rows_hash(examples: Sequence[Example]) -> str:
    digest = RowsHash()
    for example in examples:
        digest.add(example)
    return digest.hexdigest()
