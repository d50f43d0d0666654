"""Rows that calibrators and thresholds may see: the calibration role, another site's, or predictions of those."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsgen.artifacts import sha256_of
from clsgen.data.prediction_columns import are_predictions, read_logits
from clsgen.data.shards import is_shards, shard_files
from clsgen.data.source import read_examples
from clsgen.data.split import components
from clsgen.data.ties import document_digest
from clsgen.errors import CalibrationError, LeakError, RestrictedError
from clsgen.inference.predictor import Classifier
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.model_folder import ModelFolder, columns_of
from clsgen.types import Example, Role, TaskSpec

_NO_LABEL = "calibrate: rows must carry labels; none does. Give labelled rows."


class LabelledRows(NamedTuple):
    """Rows with what the model says of them.

    Attributes:
        examples: The rows, N of them; those of predictions have no text.
        logits: Class logits (N, C).
        groups: Name of each row's group.
        dropped: Reason -> rows that were left out.
    """

    examples: Sequence[Example]
    logits: NDArray[np.float64]
    groups: Sequence[str]
    dropped: Mapping[str, int]


def labelled_rows(folder: RunFolder, classifier: Classifier, on: str | None) -> LabelledRows:
    """Labelled rows with the model's class logits.

    Args:
        folder: The run.
        classifier: Its model.
        on: A file of rows, or parquet files of this model's predictions, whose texts are not read; None: the
            calibration role.

    Raises:
        RestrictedError, LeakError, CalibrationError: As for `calibration_rows`, or predictions of another model.
    """
    if on is not None and are_predictions(on):
        return _of_predictions(folder, on, classifier.spec)
    rows, dropped = calibration_rows(folder, classifier.spec, on)
    groups = [f"g{group}" for group in components(rows)]
    return LabelledRows(rows, classifier.class_logits(rows), groups, dropped)


def calibration_rows(folder: RunFolder, spec: TaskSpec, on: str | None) -> tuple[list[Example], dict[str, int]]:
    """Labelled rows that calibrators and thresholds may see, and how many were left out for which reason.

    Args:
        folder: The run.
        spec: Its task.
        on: A file of rows, read with the run's column mapping, and its columns of groups where the file has them;
            None: the calibration role.

    Raises:
        RestrictedError: A hub data set for a restricted model.
        LeakError: The file holds rows or groups of the run's test, train or validation role.
        CalibrationError: No row carries a label.
    """
    dropped: Counter[str] = Counter()
    if on is None:
        rows = list(folder.rows("calibration"))
    else:
        if spec.is_restricted and not Path(on).exists():
            raise RestrictedError("calibrate: a restricted model takes rows from a local file only. Give a path.")
        columns = columns_of(folder.model, on).model_copy(update={"subgroups": ()})
        found = read_examples(on, columns, labels=spec.labels)
        rows = list(found.examples)
        dropped.update(found.dropped)
        _refuse_seen(on, [document_digest(row.document) for row in rows], folder, groups=[row.groups for row in rows])
    labelled = [example for example in rows if example.label is not None]
    if not labelled:
        raise CalibrationError(_NO_LABEL)
    dropped["unlabelled"] += len(rows) - len(labelled)
    return labelled, {reason: count for reason, count in dropped.items() if count}


def digest_of(on: str) -> str:
    """Hex digest of what a source's files hold: the file's own where it is one."""
    if not is_shards(on):
        return sha256_of(Path(on))
    digests = "".join(sha256_of(file) for file in shard_files(on))
    return hashlib.sha256(digests.encode()).hexdigest()


def _of_predictions(folder: RunFolder, on: str, spec: TaskSpec) -> LabelledRows:
    found = read_logits(on)
    if found.labels != spec.labels or found.weights != {ModelFolder(folder.model).weights_sha256()}:
        raise CalibrationError(
            f"calibrate: {on} must be predictions of this very model: its logits are what the calibrator is fitted on. "
            "Predict the rows again with it: clsgen predict --engine ray."
        )
    if not len(found.ids):
        raise CalibrationError(_NO_LABEL)
    _refuse_seen(on, found.text_hashes, folder, groups=[() for _ in found.ids])
    rows = [Example(i, "", label=spec.labels[label]) for i, label in zip(found.ids, found.label_N, strict=True)]
    return LabelledRows(rows, found.logit_NC, [f"g{group}" for group in found.group_N], {})


def _refuse_seen(on: str, digests: Sequence[str], folder: RunFolder, *, groups: Sequence[Sequence[str]]) -> None:
    """Raise where documents or groups of a file stand in another role of the run, whatever is asked about them.

    Letter case and white space of the documents are put aside.
    """
    roles: tuple[Role, ...] = ("test", "train", "validation")
    for role in roles:
        known = folder.rows(role)
        texts = {document_digest(example.document) for example in known}
        keys = {key for example in known for key in example.groups}
        shared = [
            number
            for number, (digest, own) in enumerate(zip(digests, groups, strict=True), start=1)
            if digest in texts or not keys.isdisjoint(own)
        ]
        if shared:
            why = (
                "Thresholds and calibrators see calibration rows only"
                if role == "test"
                else "A model is too sure of rows that it was trained on"
            )
            raise LeakError(
                f"{on} must hold no document or group of the {role} role; it holds {len(shared)}, the first is row "
                f"{shared[0]}. {why}: choose other rows, or rename groups of another site that are called the same."
            )
