"""`clsgen tune` as a user runs it: figures, the choice stored and applied, test rows refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as reference

import lab
from clsgen.config.run import RunConfig
from clsgen.data.predictions import read_predictions
from clsgen.inference.predictor import Classifier
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.train import train_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run whose model has learnt nothing, with a head that tells rows apart."""
    folder = tmp_path_factory.mktemp("tune")
    values = {
        "output": str(folder / "run"),
        "data": {"task": "synthetic-notes", "num_rows": 200},
        "model": {
            "init": "scratch",
            "tuning": "full",
            "max_length_tokens": 320,
            "max_explanation_tokens": 80,
            "scratch": {"vocabulary": 400, "width": 32, "num_layers": 1, "num_heads": 2},
        },
        "train": {
            "max_steps": 2,
            "eval_steps": 1,
            "precision": "float32",
            "num_monitor_explanations": 0,
            "explanation_weight": 0,
        },
        "calibrate": {"method": "none"},
        "evaluate": {"num_bootstrap": 100},
    }
    run = train_run(RunConfig.model_validate(values))
    lab.spread(run)
    return run


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def calibration(run: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = RunFolder(run).rows("calibration")
    prob = Classifier.from_pretrained(run).predict_proba(rows)[:, 1]
    return prob, np.array([row.label == "died" for row in rows]).astype(int)


def stored(run: Path) -> Path:
    return run / "model" / "manifest.json"


def test_without_a_policy_nothing_is_stored_and_every_policy_is_shown(run, command):
    before = stored(run).read_bytes()
    ran = command("tune", run)
    assert ran.code == 0, ran.err
    assert stored(run).read_bytes() == before
    result = json.loads((run / "tune.json").read_text())
    assert {entry["policy"] for entry in result["policies"]} == {"max_f1", "half", "youden", "knee"}
    prob, label = calibration(run)
    for entry in result["policies"]:
        decided = (prob >= entry["threshold"]).astype(int)
        assert entry["sensitivity"]["estimate"] == pytest.approx(reference.recall_score(label, decided))
        assert entry["alerts_per_1000"]["estimate"] == pytest.approx(1000 * decided.mean())
        low, high = entry["specificity"]["low"], entry["specificity"]["high"]
        assert low <= reference.recall_score(label, decided, pos_label=0) <= high
        assert entry["policy"] in ran.out
    assert "hopeful" in ran.out
    assert (run / "tune.svg").read_text().count("<svg") == 1


def test_a_policy_is_stored_kept_on_reload_and_applied_by_predict(run, command, tmp_path):
    ran = command("tune", run, "--policy", "sensitivity=0.9")
    assert ran.code == 0, ran.err
    assert "Stored in the model: sensitivity=0.9" in ran.out
    rule = Classifier.from_pretrained(run).bundle.rule
    assert rule.policy == "sensitivity=0.9"
    prob, label = calibration(run)
    assert reference.recall_score(label, prob >= rule.threshold) >= 0.9
    higher = np.sort(prob[prob >= rule.threshold])[0]
    assert reference.recall_score(label, prob > higher) < 0.9, "a higher threshold would have done"
    source = tmp_path / "new.jsonl"
    rows = RunFolder(run).rows("test")
    source.write_text("".join(json.dumps({"text": row.document}) + "\n" for row in rows))
    assert command("predict", source, "-m", run, "-o", tmp_path / "out.jsonl").code == 0
    for row in read_predictions(tmp_path / "out.jsonl"):
        assert row.threshold == rule.threshold
        assert (row.decision == "died") == (row.probs["died"] >= rule.threshold)


def test_abstention_is_stored_beside_the_threshold_and_measured_on_the_test_role(run, command):
    assert command("tune", run, "--policy", "youden").code == 0
    threshold = Classifier.from_pretrained(run).bundle.rule.threshold
    ran = command("tune", run, "--abstain", "conformal_by_class=0.5")
    assert ran.code == 0, ran.err
    rule = Classifier.from_pretrained(run).bundle.rule
    assert (rule.policy, rule.threshold) == ("youden", threshold)
    assert command("eval", run).code == 0
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    predictions = read_predictions(run / "predictions.jsonl")
    held = np.array([row.label in row.label_set for row in predictions])
    assert metrics["set_coverage"]["value"] == pytest.approx(held.mean())
    died = np.array([row.label == "died" for row in predictions])
    assert metrics["set_coverage"]["by_label"]["died"] == pytest.approx(held[died].mean())
    kept = [row for row in predictions if row.label_set == (row.decision,)]
    assert metrics["abstained_share"]["value"] == pytest.approx(1 - len(kept) / len(predictions))
    assert metrics["accuracy_decided"]["value"] == pytest.approx(np.mean([row.label == row.decision for row in kept]))
    assert command("tune", run, "--abstain", "none").code == 0
    assert Classifier.from_pretrained(run).bundle.rule.abstention is None


def test_test_rows_are_refused(run, command, tmp_path):
    before = stored(run).read_bytes()
    rows = RunFolder(run).rows("test")
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"text": row.document, "label": row.label}) + "\n" for row in rows))
    ran = command("tune", run, "--policy", "half", "--on", source)
    assert ran.code == 2
    assert "must hold no document or group of the test role" in " ".join(ran.err.split())
    assert stored(run).read_bytes() == before


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--policy", "recall=0.9"), "tune: threshold: must be max_f1, half"),
        (("--policy", "ppv=1"), "Ask for less"),
        (("--abstain", "band=2"), "tune: abstain: band: distance in probability"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_nothing_is_lost(run, command, option, message):
    before = stored(run).read_bytes()
    ran = command("tune", run, *option)
    assert ran.code == 2
    assert message in " ".join(ran.err.split())
    assert stored(run).read_bytes() == before


def test_calibrating_again_keeps_the_policies_that_were_chosen(run, command):
    assert command("tune", run, "--policy", "youden", "--abstain", "band=0.05").code == 0
    ran = command("calibrate", run)
    assert ran.code == 0, ran.err
    rule = Classifier.from_pretrained(run).bundle.rule
    assert (rule.policy, rule.abstention.policy) == ("youden", "band=0.05")
    assert command("calibrate", run, "--threshold", "half", "--abstain", "none").code == 0
    rule = Classifier.from_pretrained(run).bundle.rule
    assert (rule.policy, rule.abstention) == ("half", None)
