"""`clsgen compare` end to end on a tiny model: what the table says is what the files say."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as reference
import torch

import tiny
from chat_server import Answer, ChatServer, completion
from clsgen.baselines import text_only
from clsgen.config.run import RunConfig
from clsgen.data.predictions import read_predictions
from clsgen.errors import ArtifactError, CalibrationError, ConfigError
from clsgen.evaluation.evaluate import Context
from clsgen.model.checkpoint import load_bundle
from clsgen.pipeline import compare_methods
from clsgen.pipeline.calibrate import calibrate_run
from clsgen.pipeline.compare import _differences, _method, compare_run
from clsgen.pipeline.endpoint import Endpoint
from clsgen.pipeline.evaluate import evaluate_run
from clsgen.pipeline.explanations import teacher_folder
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.report import report_run
from clsgen.pipeline.tune import tune_run
from clsgen.report import comparison
from clsgen.types import Prediction

METHODS = ("clsgen", "class_only", "text_only", "two_models", "tfidf", "cnn_lcd", "prompt_label", "prompt_few_shot")


def test_every_method_has_a_name_in_the_tables_in_their_order():
    assert list(comparison.METHODS) == list(compare_methods.METHODS)
    assert set(comparison.DEFAULT) < set(comparison.METHODS)


def config_of(folder: Path, **changes: object) -> RunConfig:
    rng = np.random.default_rng(0)
    with (folder / "rows.jsonl").open("w") as file:
        for row in tiny.examples(240):
            label = row.label if rng.random() < 0.8 else str(rng.choice(tiny.SPEC.labels))
            record = {"text": row.document, "label": label, "why": row.explanation}
            file.write(json.dumps(record) + "\n")
    values = {
        "output": str(folder / "run"),
        "data": {
            "train": str(folder / "rows.jsonl"),
            "columns": {"explanation": "why"},
            "instruction": tiny.SPEC.instruction,
        },
        "model": {
            "backbone": str(tiny.save("llama", folder / "llama")),
            "tuning": "lora",
            "max_length_tokens": 300,
            "max_explanation_tokens": 100,
        },
        "train": {
            "max_steps": 2,
            "batch_size": 4,
            "precision": "float32",
            "monitor": "loss",
            "num_monitor_explanations": 0,
        },
        "calibrate": {},
        "evaluate": {"num_bootstrap": 100},
    }
    for section, settings in changes.items():
        values[section] |= settings
    return RunConfig.model_validate(values)


def states(body, number):
    """A server that states a probability for two rows in three."""
    if number % 3 == 2:
        return Answer(completion("I can't say."))
    low, high = body["response_format"]["json_schema"]["schema"]["required"]
    share = len(body["messages"][0]["content"]) % 100
    return Answer(completion(json.dumps({low: 100 - share, high: share})))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    config = config_of(folder)
    with ChatServer(states) as server:
        endpoint = Endpoint(server.endpoint, "a-model")
        result = compare_run(config, methods=METHODS, num_seeds=2, endpoint=endpoint)
        asked = server.num_requests
        notes: list[str] = []
        again = compare_run(config, methods=METHODS, num_seeds=2, endpoint=endpoint, notify=notes.append)
        assert server.num_requests == asked
    assert again == result
    assert notes == []
    return config, result


def predictions(config: RunConfig, name: str, seed: int = 0):
    folder = Path(config.output) / "compare" / f"{name}-seed{seed}"
    return {row.id: row for row in read_predictions(folder / "predictions.jsonl")}


@pytest.mark.slow
def test_figures_and_differences_are_those_of_the_predictions(compared):
    config, result = compared
    assert list(result["methods"]) == [*METHODS, "endpoint"]

    def area(name, seed, ids):
        rows = predictions(config, name, seed)
        labels = [rows[id_].label == "sun" for id_ in ids]
        return reference.roc_auc_score(labels, [rows[id_].probs["sun"] for id_ in ids])

    ids = sorted(predictions(config, "clsgen"))
    mean = np.mean([area("clsgen", seed, ids) for seed in (0, 1)])
    assert result["methods"]["clsgen"]["metrics"]["auroc"]["value"] == pytest.approx(mean)
    for name in ("class_only", "tfidf", "cnn_lcd", "prompt_label"):
        seeds = (0, 1) if name in ("class_only", "cnn_lcd") else (0,)
        theirs = np.mean([area(name, seed, ids) for seed in seeds])
        assert result["differences"][name]["auroc"]["value"] == pytest.approx(mean - theirs)
        assert result["differences"][name]["num_rows"] == len(ids)


@pytest.mark.slow
def test_the_endpoint_is_judged_on_the_rows_it_answered(compared):
    config, result = compared
    rows = predictions(config, "endpoint")
    notes = result["methods"]["endpoint"]["notes"][0]
    calibration = RunFolder(Path(config.output)).rows("calibration")
    assert notes["num_asked"] == len(calibration) + result["num_rows"]
    assert notes["failures"] == {"unparsed": pytest.approx(notes["num_asked"] / 3, abs=1)}
    assert result["methods"]["endpoint"]["num_rows"] == len(rows) < result["num_rows"]
    assert result["differences"]["endpoint"]["num_rows"] == len(rows)


@pytest.mark.slow
def test_two_models_have_the_probability_of_one_and_the_text_of_the_other(compared):
    config, _ = compared
    classes, texts = predictions(config, "class_only"), predictions(config, "text_only")
    for id_, row in predictions(config, "two_models").items():
        assert row.probs == classes[id_].probs
        assert row.explanation == texts[id_].explanation
        assert row.agreement == (None if row.stated_label is None else row.stated_label == row.decision)


@pytest.mark.slow
def test_class_only_still_writes_and_its_perplexity_is_given(compared):
    config, result = compared
    assert all(row.explanation is not None for row in predictions(config, "class_only").values())
    for name in ("clsgen", "class_only", "text_only"):
        assert result["methods"][name]["explanations"]["perplexity"]["value"] > 1
    assert result["methods"]["tfidf"]["explanations"] == {}


@pytest.mark.slow
def test_text_only_is_the_likelihood_of_the_label_after_the_reason(compared):
    config, _ = compared
    bundle = load_bundle(Path(config.output) / "compare" / "text_only-seed0" / "run" / "model")
    rows = RunFolder(Path(config.output)).rows("test")[:3]
    reasons = {row.id: "We saw dry streets." for row in rows}
    found = text_only.label_logits(bundle, rows, reasons)
    for row, logits in zip(rows, found, strict=True):
        prompt = bundle.renderer.prompt(row.document, row.question).ids
        targets = [bundle.renderer.target(reasons[row.id], label, "free") for label in bundle.spec.labels]
        shared = next(i for i, (a, b) in enumerate(zip(*targets, strict=False)) if a != b)
        scores = []
        for target in targets:
            with torch.no_grad():
                log_probs = (
                    bundle.model.language_model(input_ids=torch.tensor([prompt + target])).logits[0].log_softmax(-1)
                )
            places = range(shared, len(target))
            scores.append(sum(float(log_probs[len(prompt) - 1 + place, target[place]]) for place in places))
        assert logits[0] - logits[1] == pytest.approx(scores[0] - scores[1], abs=1e-3)


@pytest.mark.slow
def test_the_report_shows_the_table(compared):
    config, _ = compared
    page = report_run(Path(config.output))[0].read_text()
    assert "Baselines on the same rows" in page
    assert "class head alone" in page
    assert "prompting, endpoint" in page


@pytest.mark.slow
def test_every_method_is_calibrated_and_decides_as_the_settings_say(tmp_path):
    config = config_of(tmp_path, calibrate={"threshold": "half", "method": "none"})
    compare_run(config, methods=("clsgen", "class_only", "tfidf", "prompt_label"), num_seeds=1)
    for name in ("clsgen", "class_only", "tfidf", "prompt_label"):
        rows = predictions(config, name).values()
        assert {row.threshold for row in rows} == {0.5}
        logits = np.array([row.logits for row in rows])
        raw = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
        num_rows = len(RunFolder(Path(config.output)).rows("calibration"))
        held = raw.clip(1 / (num_rows + 2), 1 - 1 / (num_rows + 2))
        assert np.array([list(row.probs.values())[1] for row in rows]) == pytest.approx(held)


def test_a_difference_that_can_not_be_tested_is_null(tmp_path):
    config = config_of(tmp_path)
    rows = [
        Prediction(f"r{n}", {"rain": 1 - p, "sun": p}, (), "sun" if p >= 0.5 else "rain", 0.5,
                   label="sun" if n < 3 else "rain", group="a" if n < 3 else f"g{n}")
        for n, p in enumerate(np.linspace(0.9, 0.1, 40).tolist())
    ]  # fmt: skip
    other = [replace(row, probs=dict(zip(row.probs, list(row.probs.values())[::-1], strict=True))) for row in rows]
    other = [replace(row, decision="sun" if row.probs["sun"] >= 0.5 else "rain") for row in other]
    found = _differences([rows], [other], tiny.SPEC, config)
    assert found["auroc"]["value"] == 1
    assert found["auroc"]["test"]["p_value"] is None
    assert "a class in one group only" in found["auroc"]["test"]["reason"]
    json.dumps(found, allow_nan=False)


def test_what_the_settings_rule_out_is_refused_or_named(tmp_path):
    scratch = {"init": "scratch", "backbone": None, "tuning": "full"}
    with pytest.raises(ConfigError, match="prompt_label needs a pretrained model to prompt"):
        compare_run(config_of(tmp_path, model=scratch), methods=("clsgen", "prompt_label"))
    with pytest.raises(ConfigError, match="text_only needs explanations to train on"):
        compare_run(config_of(tmp_path, data={"explanations": "none"}), methods=("clsgen", "text_only"))
    with pytest.raises(ConfigError, match="methods must name clsgen, .*; got tfidf, nothing"):
        compare_run(config_of(tmp_path), methods=("tfidf", "nothing"))
    with pytest.raises(ConfigError, match="endpoint needs an address"):
        compare_run(config_of(tmp_path), methods=("clsgen", "endpoint"))


def test_several_questions_are_not_compared_at_once(tmp_path):
    questions = {"wet": {"label": "label"}, "dry": {"label": "label"}}
    with pytest.raises(ConfigError, match="data.question must name one of the questions"):
        compare_run(config_of(tmp_path, data={"questions": questions, "instruction": None}))


def test_a_policy_that_a_methods_probabilities_can_not_keep_is_said_in_its_place(tmp_path, monkeypatch):
    def refuse(work, seed, folder):
        raise CalibrationError("0.9 is kept by none.")

    work = compare_methods.Work(config_of(tmp_path), None, lambda message: None)
    for name in ("tfidf", "clsgen"):
        method = replace(compare_methods.METHODS[name], run=refuse)
        monkeypatch.setitem(compare_methods.METHODS, name, method)
    outcome = work.outcome("tfidf", 0)
    assert (outcome.predictions, outcome.notes) == ([], {"reason": "0.9 is kept by none."})
    assert _method([outcome], tiny.SPEC, work.config, Context())["reason"] == "0.9 is kept by none."
    with pytest.raises(CalibrationError):
        work.outcome("clsgen", 0)


def test_other_runs_of_the_recipe_find_the_teachers_explanations_and_keep_any_policy(tmp_path, monkeypatch):
    config = config_of(tmp_path, calibrate={"threshold": "ppv=0.9"})
    trained: list[RunConfig] = []
    monkeypatch.setattr(compare_methods, "train_run", lambda config, **_: trained.append(config))
    work = compare_methods.Work(config, None, lambda message: None)
    work.trained(0, work.run.path)
    work.trained(0, work.folder / "text_only-seed0" / "run", class_loss_weight=0.0)
    work.trained(1, work.folder / "clsgen-seed1" / "run")
    assert trained[0] == config
    assert [teacher_folder(each) for each in trained] == [tmp_path / "run" / "teacher"] * 3
    assert [each.calibrate.threshold for each in trained] == ["ppv=0.9", "half", "ppv=0.9"]


@pytest.mark.slow
def test_results_of_another_configuration_are_not_taken_for_these(compared):
    config, _ = compared
    other = config.model_copy(update={"train": config.train.model_copy(update={"max_steps": 3})})
    with pytest.raises(ConfigError, match="must hold results of this configuration; train.max_steps differ"):
        compare_run(other, methods=("clsgen", "tfidf"))


@pytest.mark.slow
def test_another_threshold_is_compared_anew_and_a_stale_table_is_left_out(compared, tmp_path):
    config, _ = compared
    shutil.copytree(Path(config.output).parent, tmp_path / "copy")
    folder = tmp_path / "copy" / "run"
    config = config.model_copy(update={"output": str(folder)})
    tune_run(folder, policy="specificity=0.99")
    with pytest.raises(ConfigError, match="as the settings say, .*; calibrate.threshold differ. Set it back"):
        compare_run(config, methods=("clsgen", "tfidf"), num_seeds=2)
    with pytest.raises(ArtifactError, match="must be of the model and the predictions beside it"):
        report_run(folder)
    evaluate_run(folder)
    page = report_run(folder)[0].read_text()
    assert "Baselines on the same rows" not in page
    assert "comparison.json: of earlier predictions, left out here" in page
    calibrate_run(folder)
    again = compare_run(config, methods=("clsgen", "tfidf"), num_seeds=2)
    accuracy = json.loads((folder / "metrics.json").read_text())["metrics"]["accuracy"]["value"]
    assert again["methods"]["clsgen"]["metrics"]["accuracy"]["seeds"][0] == pytest.approx(accuracy)
    assert "Baselines on the same rows" in report_run(folder)[0].read_text()
