"""Sharded predictions are judged, and calibrated on, as what they were made of: the same figures without the texts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clsgen.config.run import RunConfig
from clsgen.data.plan import plan_blocks
from clsgen.data.prediction_columns import read_logits
from clsgen.data.prediction_table import parquet_bytes, schema_of
from clsgen.data.shards import shard_files
from clsgen.errors import CalibrationError, DataError, LeakError
from clsgen.inference.blocks import BlockPredictor, Job, join_blocks, write_groups
from clsgen.inference.partial import Wanted, json_lines
from clsgen.inference.predictor import Classifier
from clsgen.pipeline.calibrate import calibrate_run
from clsgen.pipeline.evaluate_files import evaluate_file, evaluate_shards
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.model_folder import ModelFolder, columns_of
from clsgen.pipeline.train import train_run
from clsgen.pipeline.tune import tune_run
from clsgen.tasks.synthetic import generate_notes
from clsgen.types import Example
from results import BINARY, THREE, rows_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = {
        "output": str(tmp_path_factory.mktemp("run") / "r"),
        "data": {"task": "synthetic-notes", "num_rows": 240},
        "model": {
            "init": "scratch",
            "tuning": "full",
            "max_length_tokens": 320,
            "max_explanation_tokens": 80,
            "scratch": {"vocabulary": 800, "width": 32, "num_layers": 1, "num_heads": 2},
        },
        "train": {"max_steps": 6, "eval_steps": 6, "batch_size": 4, "precision": "float32", "patience": None},
        "evaluate": {"num_bootstrap": 100},
    }
    return train_run(RunConfig.model_validate(values))


def predicted(run: Path, rows: Sequence[Example], folder: Path) -> tuple[str, str]:
    """A file of rows, and a folder of what the run's model says of them."""
    source = folder / "site.jsonl"
    source.write_text("".join(json.dumps({"text": row.document, "label": row.label}) + "\n" for row in rows))
    columns = columns_of(run / "model", str(source))
    classifier = Classifier.from_pretrained(run)
    plan = plan_blocks(str(source), columns, labels=classifier.labels, block_rows=16)
    job = Job(
        model=run / "model",
        base=None,
        files=tuple(shard_files(str(source))),
        columns=columns,
        wanted=Wanted(),
        folder=folder / "work",
        form="parquet",
        weights_sha256=ModelFolder(run / "model").weights_sha256(),
        is_private=False,
    )
    job.folder.mkdir()
    write_groups(job, plan.group_N)
    for block in plan.blocks:
        BlockPredictor(job, classifier).write(block)
    join_blocks(job, plan.blocks, folder / "predictions")
    return str(source), str(folder / "predictions")


@pytest.mark.parametrize("sort", ["folder", "glob"])
def test_a_calibrator_of_predictions_is_that_of_their_texts(run: Path, tmp_path: Path, sort: str) -> None:
    rows, predictions = predicted(run, generate_notes(60, length="short", prevalence=0.4, seed=11), tmp_path)
    first, second = (shutil.copytree(run, tmp_path / name) for name in ("first", "second"))
    of_texts = calibrate_run(first, on=rows)
    of_predictions = calibrate_run(second, on=predictions if sort == "folder" else f"{predictions}/*.parquet")
    assert of_predictions.bundle.rule == of_texts.bundle.rule
    found, expected = of_predictions.bundle.calibrator, of_texts.bundle.calibrator
    assert (found.method, found.num_rows) == (expected.method, 60)
    probe = np.random.default_rng(0).normal(size=(50, 2))
    assert found.probs(probe) == pytest.approx(expected.probs(probe), abs=1e-4)  # batches of other sizes
    assert of_predictions.before is not None
    assert of_texts.before is not None
    assert of_predictions.before["brier"]["value"] == pytest.approx(of_texts.before["brier"]["value"], abs=1e-5)
    # A calibration leaves the weights, and so what they said, as it was.
    assert ModelFolder(second / "model").weights_sha256() == ModelFolder(run / "model").weights_sha256()
    assert tune_run(second, on=predictions).rule.threshold == pytest.approx(tune_run(first, on=rows).rule.threshold)


@pytest.mark.parametrize("role", ["test", "train"])
def test_predictions_of_rows_that_another_role_holds_calibrate_nothing(run: Path, tmp_path: Path, role: Any) -> None:
    seen = RunFolder(run).rows(role)[:3]
    rows = [Example(row.id, f"  {row.document.upper()}\n", label=row.label) for row in seen]
    _, predictions = predicted(run, [*rows, *generate_notes(20, length="short", prevalence=0.4, seed=3)], tmp_path)
    with pytest.raises(LeakError, match=f"must hold no document or group of the {role} role; it holds 3"):
        calibrate_run(run, on=predictions)


def test_predictions_that_stand_there_twice_calibrate_nothing(run: Path, tmp_path: Path) -> None:
    _, predictions = predicted(run, generate_notes(20, length="short", prevalence=0.4, seed=3), tmp_path)
    shutil.copy(Path(predictions) / "part-00000.parquet", Path(predictions) / "part-00001.parquet")
    with pytest.raises(DataError, match="id must occur once; got .* more than once"):
        calibrate_run(run, on=predictions)


def test_predictions_of_other_weights_calibrate_nothing(run: Path, tmp_path: Path) -> None:
    _, predictions = predicted(run, generate_notes(20, length="short", prevalence=0.4, seed=3), tmp_path)
    path = Path(predictions) / "part-00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"clsgen.weights_sha256": b"0" * 64}), path)
    with pytest.raises(CalibrationError, match="must be predictions of this very model"):
        calibrate_run(run, on=predictions)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [rows[0] | {"logits": [1.0]}, rows[1] | {"logits": [1.0, 2.0, 3.0]}], "logits must be 2 finite"),
        (lambda rows: [rows[0] | {"logits": [1.0, float("nan")]}], "logits must be 2 finite"),
        (lambda rows: [rows[0] | {"text_hash": None}], "text_hash must be given in every row; 1 lack it"),
    ],
)
def test_logits_that_can_not_be_used_are_named(tmp_path: Path, change: Any, message: str) -> None:
    _, parts = shards(tmp_path, BINARY, num_files=1)
    table = pq.read_table(parts / "0.parquet")
    rows = [row | {"label": "no"} for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(change(rows), table.schema), parts / "0.parquet")
    with pytest.raises(DataError, match=message):
        read_logits(str(parts))


# ---- evaluation ----


def shards(folder: Path, spec: Any, num_files: int = 3) -> tuple[Path, Path]:
    """The same predictions as a jsonl file and as parquet files in another order."""
    predictions, examples = rows_of(spec)
    (folder / "all.jsonl").write_bytes(b"".join(json_lines(predictions)))
    (folder / "parts").mkdir()
    for number in range(num_files):
        own = slice(num_files - 1 - number, None, num_files)
        content = parquet_bytes(predictions[own], examples[own], schema_of(spec.labels, "w"))
        (folder / "parts" / f"{number}.parquet").write_bytes(content)
    return folder / "all.jsonl", folder / "parts"


@pytest.mark.parametrize("spec", [BINARY, THREE], ids=["binary", "three"])
def test_shards_are_worth_what_the_same_lines_are(tmp_path: Path, spec: Any) -> None:
    lines, parts = shards(tmp_path, spec)
    expected, found = evaluate_file(lines, tmp_path / "a"), evaluate_shards(parts, tmp_path / "b")
    for name in ("distinct_1", "distinct_2"):
        assert (
            found["explanations"].pop(name)["reason"] == "needs all texts at once, which columns of files do not give"
        )
        expected["explanations"].pop(name)
    for result in (expected, found):  # two words for the same lack
        for name in (
            "readability",
            "readability_reference",
            "grounding",
            "boilerplate_share",
            "rouge_l",
            "chrf",
            "blind_agreement",
            "blind_kappa",
        ):
            assert result["explanations"].pop(name)["value"] is None
    assert found == expected
    assert found["explanations"]["rli"]["value"] > 0
    assert found["explanations"]["length_words"]["value"] > 8


def test_no_text_is_held(tmp_path: Path) -> None:
    _, parts = shards(tmp_path, BINARY)
    from clsgen.data.prediction_columns import read_prediction_columns

    found = read_prediction_columns(str(parts))
    arrays = [each for each in (*found, *found.written) if isinstance(each, np.ndarray)]
    assert len(arrays) == 12
    assert all(each.dtype.kind in "fib" for each in arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows, rows[0]], "id must occur once; got 'row000' more than once"),
        (lambda rows: [rows[0] | {"probs": {"no": 0.9, "yes": 0.3}}], "add up to 1; got .0.9, 0.3. for 'row000'"),
        (lambda rows: [rows[0], rows[1] | {"decision": None}], "decision must be given in every row; 1 lack it"),
        (lambda rows: [rows[0], rows[1] | {"id": None}], "id must be given in every row; 1 lack it"),
        (
            lambda rows: [rows[0] | {"label_set": ["no", "maybe"]}],
            "label_set must be one of .'no', 'yes'.; got 'maybe'",
        ),
        (lambda rows: [rows[0] | {"label_set": ["no", None]}], "label_set must hold some of .'no', 'yes'.; got null"),
        (lambda rows: [rows[0] | {"decision": "maybe"}], "decision must be one of .'no', 'yes'.; got 'maybe'"),
        (lambda rows: [rows[0], rows[1] | {"threshold": 0.9}], "threshold must be the same in all rows; got 2"),
        (lambda rows: [], "predictions must be at least one row"),
    ],
)
def test_values_that_can_not_be_used_are_named(tmp_path: Path, change: Any, message: str) -> None:
    _, parts = shards(tmp_path, BINARY, num_files=1)
    table = pq.read_table(parts / "0.parquet")
    schema = pa.schema([field.with_nullable(True) for field in table.schema])  # as other writers leave it
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema), parts / "0.parquet")
    with pytest.raises(DataError, match=message):
        evaluate_shards(parts, tmp_path)


def test_files_of_two_tasks_are_not_one_source(tmp_path: Path) -> None:
    _, parts = shards(tmp_path, BINARY, num_files=1)
    (tmp_path / "x").mkdir()
    _, other = shards(tmp_path / "x", THREE, num_files=1)
    shutil.copy(other / "0.parquet", parts / "1.parquet")
    with pytest.raises(DataError, match="all files must have the same labels and columns"):
        evaluate_shards(parts, tmp_path)


def test_the_command_judges_a_folder_and_a_glob(tmp_path: Path, command: Any) -> None:
    _, parts = shards(tmp_path, BINARY)
    for source in (parts, f"{parts}/*.parquet", parts / "0.parquet"):
        done = command("eval", source, "-o", tmp_path / "out")
        assert done.code == 0, done.err
        assert json.loads((tmp_path / "out" / "metrics.json").read_text())["metrics"]["auroc"]["value"] > 0.5
    done = command("eval", parts, "--by", "sex")
    assert done.code == 2
    assert "--by goes with a run or a table" in done.err
