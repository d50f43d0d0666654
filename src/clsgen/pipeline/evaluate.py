"""Predicts the test role once and judges the predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clsgen.artifacts import sha256_of, write_json_atomic, write_text_atomic
from clsgen.baselines.reader import recovered_labels
from clsgen.config.prediction import PredictSettings
from clsgen.config.run import RunConfig
from clsgen.data.explanations import vocabulary_of_rows
from clsgen.data.predictions import read_predictions
from clsgen.errors import ArtifactError, ConfigError
from clsgen.evaluation.evaluate import Context, evaluate
from clsgen.evaluation.measure_evidence import evidence_figures
from clsgen.inference.batch import predict_file
from clsgen.inference.perturb import perturbed_records
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.loading import classifier_of
from clsgen.tasks.synthetic import SPEC as SYNTHETIC_SPEC
from clsgen.types import Example, TaskSpec

_WORDS = "words of the document"


def evaluate_run(
    run: Path,
    *,
    by: Sequence[str] = (),
    base: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Predict the test rows of a run, write predictions.jsonl and metrics.json.

    Predictions that this model made with these settings, and that metrics.json was written of, are not made again.

    Args:
        run: The run directory.
        by: Names of metadata that the rows are judged by apart, besides data.columns.subgroups and the documents'
            length.
        base: Where the base weights are, if they moved.
        on_progress: Called with (rows done, rows in all).

    Returns:
        What metrics.json holds.

    Raises:
        ConfigError: `by` names nothing that a test row has, or a proxy of the label.
        ArtifactError: The run has no test rows.
    """
    folder = RunFolder(run)
    config = folder.config()
    classifier = classifier_of(folder, base=base)
    test = folder.rows("test")
    if not test:
        raise ArtifactError(
            f"{run}: a run must have test rows to be judged; this one was trained with data.split.test: 0. Predict "
            "other labelled rows, and judge that file: clsgen eval FILE."
        )
    by = tuple(dict.fromkeys((*config.data.columns.subgroups, *by)))
    _check_by(by, test, classifier.spec)
    if not is_predicted(folder):
        folder.metrics.unlink(missing_ok=True)  # it is of other predictions from here on
        predict_file(
            classifier,
            test,
            folder.predictions,
            explain=config.predict.explain if classifier.bundle.has_explanations else "none",
            mode=config.predict.mode,
            groups=folder.groups(),
            model_hash=sha256_of(folder.model / "manifest.json"),
            on_progress=on_progress,
        )
    predictions = read_predictions(folder.predictions)
    known = context_of(test, folder.rows("train"), by=by, knows_risk=config.data.task == SYNTHETIC_SPEC.name)
    reasons = {row.id: row.explanation for row in predictions if row.explanation}
    if reasons:
        recovered = recovered_labels(folder.rows("train"), folder.rows("validation"), reasons, classifier.spec)
        known = replace(known, recovered=recovered)
    result = evaluate(predictions, classifier.spec, settings=config.evaluate, context=known)
    made_by = _made_by(folder, config.predict)
    result |= {"seeds": seeds_of(config), "calibrator": classifier.bundle.calibrator.method, "predicted": made_by}
    write_json_atomic(folder.metrics, result, is_private=classifier.spec.is_restricted)
    return result


def is_predicted(folder: RunFolder, settings: PredictSettings | None = None) -> bool:
    """Whether the predictions that are there were made by the model as it is now, and judged.

    Args:
        folder: The run.
        settings: With these settings; None: those of the run.
    """
    if not (folder.metrics.is_file() and folder.predictions.is_file()):
        return False
    found = json.loads(folder.metrics.read_text(encoding="utf-8")).get("predicted")
    wanted = folder.config().predict if settings is None else settings
    return bool(found == _made_by(folder, wanted))


def _made_by(folder: RunFolder, settings: PredictSettings) -> dict[str, Any]:
    return {
        "model_sha256": sha256_of(folder.model / "manifest.json"),
        "sha256": sha256_of(folder.predictions),
        **settings.model_dump(mode="json"),
    }


def remove_evidence(run: Path, *, base: str | None = None) -> dict[str, Any]:
    """Cut what the reasons of a run's predictions quote, see what becomes of the probability, write evidence.json.

    Args:
        run: A run that was evaluated.
        base: Where the base weights are, if they moved.

    Returns:
        What evidence.json holds; the perturbed probabilities stand in evidence.jsonl.
    """
    folder = RunFolder(run)
    config = folder.config()
    classifier = classifier_of(folder, base=base)
    predictions = read_predictions(folder.predictions)
    records, skipped = perturbed_records(classifier, folder.rows("test"), predictions, seed=config.evaluate.seed)
    lines = "".join(json.dumps(record) + "\n" for record in records)
    write_text_atomic(run / "evidence.jsonl", lines, is_private=classifier.spec.is_restricted)
    result = evidence_figures(records, folder.groups(), skipped, settings=config.evaluate)
    result |= {"predictions_sha256": sha256_of(folder.predictions)}
    write_json_atomic(run / "evidence.json", result, is_private=classifier.spec.is_restricted)
    return result


def context_of(
    test: Sequence[Example], train: Sequence[Example], *, by: Sequence[str] = (), knows_risk: bool = False
) -> Context:
    """What is known of the test rows beside their predictions.

    Args:
        test: The test rows: documents, true risks, metadata.
        train: The train rows: the vocabulary.
        by: Names of metadata that the rows are judged by apart, besides the documents' length.
        knows_risk: Whether the metadata `risk` is the chance that the label was drawn with.
    """
    columns: dict[str, dict[str, Any]] = {
        name: {example.id: example.metadata.get(name) for example in test} for name in by
    }
    columns[_WORDS] = {example.id: len(example.document.split()) for example in test}
    return Context(
        split="test",
        documents={example.id: example.document for example in test},
        vocabulary=vocabulary_of_rows(train),
        true_risk={example.id: float(example.metadata["risk"]) for example in test} if knows_risk else None,
        references={example.id: example.explanation for example in test if example.explanation},
        columns=columns,
    )


def _check_by(by: Sequence[str], test: Sequence[Example], spec: TaskSpec) -> None:
    known = sorted(
        {
            name
            for row in test
            for name, value in row.metadata.items()
            if name not in spec.proxies and not isinstance(value, list | dict)
        }
    )
    for name in by:
        if name in spec.proxies:
            raise ConfigError(f"eval: by must not be a proxy of the label; got {name!r}. It gives the label away.")
        if name not in known:
            raise ConfigError(
                f"eval: by must be known of the test rows ({', '.join(known) or 'nothing'}); got {name!r}."
            )


def seeds_of(config: RunConfig) -> Mapping[str, int]:
    """Every seed that the result depends on."""
    return {
        "train": config.train.seed,
        "split": config.data.split.seed,
        "bootstrap": config.evaluate.seed,
        "data": config.data.seed,
    }
