"""The main job as a user runs it: real processes, real files, kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as reference
from safetensors.torch import load_file

import tiny
from clsgen.artifacts import write_manifest
from clsgen.config.load import save_config
from clsgen.config.run import RunConfig
from clsgen.data.predictions import read_predictions
from clsgen.errors import ArtifactError, CalibrationError, ConfigError, DataError, LeakError, RestrictedError
from clsgen.inference.predictor import Classifier
from clsgen.model.calibration import fit_calibrator
from clsgen.model.checkpoint import load_bundle
from clsgen.pipeline.calibrate import calibrate_run
from clsgen.pipeline.dry_run import dry_run
from clsgen.pipeline.evaluate import evaluate_run, remove_evidence
from clsgen.pipeline.evaluate_files import evaluate_file
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.prepare import prepare
from clsgen.pipeline.train import train_run
from clsgen.pipeline.tune import tune_run
from clsgen.tasks.synthetic import generate_notes
from clsgen.training.checkpoints import last_whole_checkpoint


def config(output: Path, **sections) -> RunConfig:
    """A small synthetic run; sections are merged over it."""
    values = {
        "output": str(output),
        "data": {"task": "synthetic-notes", "num_rows": 240},
        "model": {
            "init": "scratch",
            "tuning": "full",
            "max_length_tokens": 320,
            "max_explanation_tokens": 80,
            "scratch": {"vocabulary": 800, "width": 32, "num_layers": 1, "num_heads": 2},
        },
        "train": {
            "max_steps": 12,
            "eval_steps": 6,
            "batch_size": 4,
            "precision": "float32",
            "num_monitor_explanations": 2,
            "patience": None,
        },
        "evaluate": {"num_bootstrap": 100},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return RunConfig.model_validate(values)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return train_run(config(tmp_path_factory.mktemp("run") / "r"))


@pytest.fixture(scope="module")
def result(run) -> dict:
    return evaluate_run(run)


def clsgen(*arguments, cwd=None, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "clsgen", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def test_a_run_directory_has_what_the_design_names(run, result):
    names = {path.name for path in run.iterdir()}
    assert {
        "config.yaml",
        "data",
        "model",
        "checkpoints",
        "predictions.jsonl",
        "metrics.json",
        "manifest.json",
    } <= names
    assert RunFolder(run).config() == config(run)


def test_the_calibrator_is_fitted_through_the_serving_path_on_calibration_rows(run):
    classifier = Classifier.from_pretrained(run)
    rows = RunFolder(run).rows("calibration")
    labels = np.array([classifier.labels.index(row.label) for row in rows])
    expected = fit_calibrator(classifier.class_logits(rows), labels)
    assert classifier.bundle.calibrator == expected
    assert expected.num_rows == len(rows)


def test_the_threshold_is_the_best_f1_on_calibration_rows(run):
    from sklearn.metrics import f1_score

    classifier = Classifier.from_pretrained(run)
    rows = RunFolder(run).rows("calibration")
    labels = np.array([row.label == "died" for row in rows]).astype(int)
    probs = classifier.predict_proba(rows)[:, 1]
    best = max(f1_score(labels, probs >= cut) for cut in np.unique(probs))
    threshold = classifier.bundle.rule.threshold
    assert f1_score(labels, probs >= threshold) == pytest.approx(best)


def test_roles_are_disjoint_by_group_and_cover_the_rows(run):
    folder = RunFolder(run)
    groups = folder.groups()
    by_role = {
        role: {groups[row.id] for row in folder.rows(role)} for role in ("train", "validation", "calibration", "test")
    }
    assert all(by_role.values())
    roles = list(by_role)
    for index, first in enumerate(roles):
        for second in roles[index + 1 :]:
            assert by_role[first].isdisjoint(by_role[second])


def test_metrics_have_the_asked_figures_with_n_and_intervals(result, run):
    assert json.loads((run / "metrics.json").read_text()) == result
    for name in ("auroc", "auprc", "brier", "log_loss", "ece", "f1"):
        assert result["metrics"][name]["n"] == result["num_rows"]
        assert result["metrics"][name]["low"] <= result["metrics"][name]["high"]
    for name in ("auroc_alignment", "rli", "r_lkappa", "readability", "unparsed_rate"):
        assert name in result["explanations"]
    assert result["split"] == "test"
    assert set(result["seeds"]) == {"train", "split", "bootstrap", "data"}


def test_auroc_is_that_of_an_independent_computation(result, run):
    from sklearn.metrics import brier_score_loss, roc_auc_score

    found = read_predictions(run / "predictions.jsonl")
    labels = [prediction.label == "died" for prediction in found]
    probs = [prediction.probs["died"] for prediction in found]
    assert result["metrics"]["auroc"]["value"] == pytest.approx(roc_auc_score(labels, probs))
    assert result["metrics"]["brier"]["value"] == pytest.approx(brier_score_loss(labels, probs))


def test_the_manifest_says_seeds_versions_hashes_and_counts(run):
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["packages"]["torch"]
    assert set(manifest["data_hashes"]) == {"train", "validation", "calibration", "test"}
    assert manifest["rows"]["train"]
    assert any("eval_auroc" in entry for entry in manifest["history"])
    assert str(run.parent) not in json.dumps(manifest)


def test_monitors_at_each_evaluation(run):
    history = json.loads((run / "manifest.json").read_text())["history"]
    evaluations = [entry for entry in history if "eval_loss" in entry]
    assert [entry["step"] for entry in evaluations] == [6, 12]
    # a model this young writes no word, so that distinct-n and repetition are undefined and left out
    wanted = {"class_loss", "explanation_loss", "auroc", "brier", "perplexity", "ended_share"}
    assert wanted <= {name.removeprefix("eval_") for name in evaluations[-1]}


def test_the_same_seed_gives_the_same_weights_and_another_one_others(tmp_path):
    runs = [train_run(config(tmp_path / str(i), train={"seed": seed})) for i, seed in enumerate((5, 5, 6))]
    weights = [load_file(found / "model" / "model.safetensors") for found in runs]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    assert any((weights[0][name] != weights[2][name]).any() for name in weights[0])


def test_an_existing_run_is_never_overwritten(run):
    with pytest.raises(ConfigError, match="output must be a new run directory"):
        train_run(config(run))


def test_resume_needs_a_run_and_its_configuration(run, tmp_path):
    with pytest.raises(ArtifactError, match="--resume needs a run to go on with"):
        train_run(config(tmp_path / "none"), is_resumed=True)
    with pytest.raises(
        ConfigError, match=r"--resume needs the configuration .* there: train\.seed was \d+ and is 8\. Undo"
    ):
        train_run(config(run, train={"seed": 8}), is_resumed=True)


def test_resume_needs_the_rows_that_the_run_began_with(tmp_path):
    table = own_data(tmp_path)
    own = config(
        tmp_path / "r",
        data={"task": None, "num_rows": None, "train": str(table), "columns": OWN},
        train={"max_steps": 2, "eval_steps": 1},
    )
    run = train_run(own)
    (run / "model").rename(tmp_path / "set-aside")  # as if killed before the end
    table.write_text(table.read_text().replace("patient 3 was", "patient 3 seemed"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(ArtifactError, match="--resume needs the rows that the run began with"):
        train_run(own, is_resumed=True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_resume_needs_the_steps_that_the_run_began_with(tmp_path):
    """Whatever a resume by another number of processes left in the settings, killed before it had begun."""
    own = config(tmp_path / "r", train={"max_steps": 2, "eval_steps": 1, "gradient_accumulation": 2})
    run = train_run(own)
    (run / "model").rename(tmp_path / "set-aside")
    others = config(run, train={"max_steps": 2, "eval_steps": 1, "gradient_accumulation": 4})
    save_config(others, run / "config.yaml")
    with pytest.raises(ConfigError, match=r"needs steps of 2 batches as before; 1 process\(es\) would take 4"):
        train_run(others, is_resumed=True)
    train_run(own, is_resumed=True)
    assert RunFolder(run).config() == own


def test_a_run_that_fails_before_training_leaves_no_directory(tmp_path):
    broken = config(tmp_path / "r", data={"task": None, "num_rows": None, "train": str(tmp_path / "no.csv")})
    with pytest.raises(DataError):
        train_run(broken)
    assert not (tmp_path / "r").exists()


def test_the_frozen_copy_for_kl_is_shown(tmp_path):
    base = tiny.save("llama", tmp_path / "base")
    messages = []
    train_run(
        config(
            tmp_path / "r",
            model={"init": "pretrained", "backbone": str(base), "tuning": "full"},
            train={"max_steps": 2, "eval_steps": 1, "kl_weight": 0.1},
        ),
        notify=messages.append,
    )
    assert "frozen copy for KL 0." in messages[0]
    assert "weights float32, forward float32, head float32" in messages[0]


def test_a_complete_run_is_not_trained_on(run):
    before = (run / "manifest.json").read_bytes()
    messages = []
    assert train_run(config(run), is_resumed=True, notify=messages.append) == run
    assert messages == ["This run is complete: there is nothing to resume."]
    assert (run / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("patience", [None, 1])
def test_a_run_killed_while_calibrating_takes_no_step_more(tmp_path, patience):
    """Killed between the last checkpoint and the saved model, stopped early or not: the same bits, no extra step."""
    sections = {
        "train": {"schedule": "constant", "monitor": "explanation_loss", "patience": patience, "learning_rate": 0.03}
    }
    whole = train_run(config(tmp_path / "whole", **sections))
    killed = train_run(config(tmp_path / "killed", **sections))
    (killed / "model").rename(tmp_path / "set-aside")
    train_run(config(tmp_path / "killed", **sections), is_resumed=True)
    first, second = (load_file(run / "model" / "model.safetensors") for run in (whole, killed))
    assert all((first[name] == second[name]).all() for name in first)
    steps = [entry["step"] for entry in json.loads((killed / "manifest.json").read_text())["history"]]
    assert max(steps) <= 12


def test_the_early_stopping_counter_goes_on_where_it_stood(tmp_path, monkeypatch):
    """Killed after the first bad evaluation; the second one after the resume must stop the run."""
    from clsgen.pipeline import train as module

    sections = {"train": {"max_steps": 40, "eval_steps": 2, "patience": 3, "learning_rate": 0.5, "log_steps": 1}}
    whole = train_run(config(tmp_path / "whole", **sections))
    stop = max(entry["step"] for entry in json.loads((whole / "manifest.json").read_text())["history"])
    assert stop < 40
    killed = config(tmp_path / "killed", **sections)

    class Kill(module.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == stop - 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(killed, callbacks=[Kill()])
    history = json.loads((train_run(killed, is_resumed=True) / "manifest.json").read_text())["history"]
    assert max(entry["step"] for entry in history) == stop
    whole_history = json.loads((whole / "manifest.json").read_text())["history"]
    logged = [
        [(entry["step"], entry["class_loss"], entry["explanation_loss"]) for entry in run if "class_loss" in entry]
        for run in (history, whole_history)
    ]
    assert logged[0] == logged[1]  # means since the last log, in a resumed run as well


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"calibrate": {"method": "isotonic"}}, "method isotonic must be fitted on 1000 rows or more"),
        ({"train": {"class_weights": [1.0]}}, "class_weights must be 2 positive numbers"),
        ({"train": {"report_to": ["foo"]}}, "report_to must name trackers of transformers"),
        ({"train": {"report_to": ["tensorboard"]}}, "report_to must name installed trackers"),
    ],
)
def test_what_can_not_work_is_refused_before_training_and_by_the_dry_run(tmp_path, sections, message):
    import importlib.util

    if "tensorboard" in str(sections) and importlib.util.find_spec("tensorboard"):
        pytest.skip("tensorboard is installed here")
    for job in (train_run, dry_run):
        with pytest.raises((ConfigError, CalibrationError), match=message):
            job(config(tmp_path / "r", **sections))
    assert not (tmp_path / "r").exists()


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path):
    for step, is_sealed in ((2, True), (10, False), (6, True)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text("{}")
        if is_sealed:
            write_manifest(folder)
    (tmp_path / "checkpoint-14").mkdir()
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-6"
    assert last_whole_checkpoint(tmp_path / "nothing") is None


@pytest.mark.slow
def test_kill_nine_and_resume_is_uninterrupted(tmp_path):
    """A real process, killed between two checkpoints; weights, calibrator and threshold to the last bit.

    Of LoRA with dropout: `test_one_process_resumes_to_the_last_bit`.
    """
    sections = {"train": {"max_steps": 24, "eval_steps": 4, "seed": 2, "log_steps": 1}}
    for name in ("whole", "killed"):
        save_config(config(tmp_path / name, **sections), tmp_path / f"{name}.yaml")
    assert clsgen("train", tmp_path / "whole.yaml").returncode == 0
    command = [sys.executable, "-m", "clsgen", "train", str(tmp_path / "killed.yaml")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    )
    for line in process.stdout:
        if line.startswith("step    14"):
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model").exists()
    assert last_whole_checkpoint(tmp_path / "killed" / "checkpoints").name == "checkpoint-12"
    done = clsgen("train", tmp_path / "killed.yaml", "--resume")
    assert done.returncode == 0, done.stderr
    assert "step    13" in done.stdout
    assert "step    12 " not in done.stdout
    for file in ("head.safetensors", "model.safetensors"):
        first, second = (load_file(tmp_path / name / "model" / file) for name in ("whole", "killed"))
        assert first.keys() == second.keys()
        assert all((first[key] == second[key]).all() for key in first)
    for file in ("calibrator.json", "decision.json", "similar.json"):
        assert (tmp_path / "whole/model" / file).read_text() == (tmp_path / "killed/model" / file).read_text()


def test_head_only_trains_and_its_text_metrics_are_not_applicable(tmp_path):
    base = tiny.save("llama", tmp_path / "base")
    run = train_run(
        config(
            tmp_path / "r",
            model={"init": "pretrained", "backbone": str(base), "tuning": "head_only"},
            train={"explanation_weight": 0.0, "max_steps": 4, "eval_steps": 2},
        )
    )
    result = evaluate_run(run)
    assert {entry["value"] for entry in result["explanations"].values()} == {None}
    assert all("not applicable" in entry["reason"] for entry in result["explanations"].values())
    assert not (run / "model" / "model.safetensors").exists()


def test_class_weights_kl_and_smoothing_run_on_lora(tmp_path):
    base = tiny.save("qwen", tmp_path / "base")
    run = train_run(
        config(
            tmp_path / "r",
            model={"init": "pretrained", "backbone": str(base), "tuning": "lora"},
            train={
                "max_steps": 3,
                "eval_steps": 3,
                "class_weights": "balanced",
                "kl_weight": 0.2,
                "label_smoothing": 0.1,
            },
        )
    )
    history = json.loads((run / "manifest.json").read_text())["history"]
    assert Classifier.from_pretrained(run).predict(["a note"], explain="all")[0].explanation is not None
    assert history


def test_merge_makes_the_directory_whole(tmp_path):
    base = tiny.save("llama", tmp_path / "base")
    run = train_run(
        config(
            tmp_path / "r",
            model={"init": "pretrained", "backbone": str(base), "tuning": "lora"},
            train={"max_steps": 3, "eval_steps": 3, "learning_rate": 0.01},
        ),
        is_merged=True,
    )
    base.rename(tmp_path / "gone")
    assert Classifier.from_pretrained(run).predict_proba(["a note"]).shape == (1, 2)
    assert not (run / "model" / "adapter_model.safetensors").exists()


def test_a_merge_that_moves_probabilities_is_refused(tmp_path, monkeypatch):
    from clsgen.model import adapter
    from clsgen.pipeline import train as module

    base = tiny.save("llama", tmp_path / "base")

    def lossy(model):
        merged = model.unload()
        for parameter in merged.parameters():
            parameter.data = parameter.data.to("cpu").half().float() * 1.05
        return merged

    monkeypatch.setattr(adapter, "merge_adapter", lossy)
    with pytest.raises(ArtifactError, match="merging must leave every probability within"):
        module.train_run(
            config(
                tmp_path / "r",
                model={"init": "pretrained", "backbone": str(base), "tuning": "lora"},
                train={"max_steps": 3, "eval_steps": 3, "head_learning_rate": 0.5, "learning_rate": 0.05},
            ),
            is_merged=True,
        )
    assert (tmp_path / "r" / "model" / "adapter_model.safetensors").exists()  # the unmerged model is there


def test_a_document_longer_than_the_context_is_cut_counted_and_shown(tmp_path):
    messages = []
    run = train_run(
        config(tmp_path / "r", model={"max_length_tokens": 200}, train={"max_steps": 1, "eval_steps": 1}),
        notify=messages.append,
    )
    assert "documents cut" in messages[0]
    assert " 0 documents cut" not in messages[0]
    assert evaluate_run(run)["truncated_share"] > 0.5


def test_a_context_beyond_the_backbone_is_refused(tmp_path):
    base = tiny.save("llama", tmp_path / "base")
    with pytest.raises(ConfigError, match=r"max_length_tokens must be at most 512, the backbone's context; got 4000"):
        train_run(
            config(
                tmp_path / "r",
                model={"init": "pretrained", "backbone": str(base), "tuning": "lora", "max_length_tokens": 4000},
            )
        )


def own_data(folder: Path, *, num_rows: int = 200) -> Path:
    """A table of texts with yes/no labels; NA, None and 01 are ordinary texts."""
    lines = ["body,answer,why,who"]
    for index in range(num_rows):
        label, word = (("no", "calm"), ("yes", "restless"))[index % 2]
        reason = f"the text says {word} and so the answer holds"
        lines.append(f"patient {index} was {word} today,{label},{reason},p{index // 2}")
    path = folder / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


OWN = {"text": ["body"], "label": "answer", "explanation": "why", "group": ["who"]}


def test_explanations_too_long_are_counted_in_both_roles_that_learn_or_watch(tmp_path):
    data = own_data(tmp_path)
    lines = data.read_text().splitlines()
    lines[1::3] = [line.replace("and so", "word " * 300) for line in lines[1::3]]
    data.write_text("\n".join(lines) + "\n")
    found = prepare(config(tmp_path / "r", data={"task": None, "train": str(data), "columns": OWN}))
    roles = found.split.roles
    too_long = {role: sum(len(row.explanation) > 1000 for row in roles[role]) for role in ("train", "validation")}
    assert min(too_long.values()) > 0
    assert found.dropped == {"explanation_too_long": sum(too_long.values())}


def test_own_table_with_yes_and_no_labels_end_to_end(tmp_path, command):
    table = own_data(tmp_path)
    run = train_run(config(tmp_path / "r", data={"task": None, "num_rows": None, "train": str(table), "columns": OWN}))
    assert Classifier.from_pretrained(run).labels == ("no", "yes")
    new = tmp_path / "new.csv"
    new.write_text("body\nsomebody was calm\nsomebody was restless\n")
    done = command("predict", new, "-m", run, "-o", tmp_path / "out.jsonl", "--explain", "all")
    assert done.code == 0, done.err
    assert [set(found.probs) for found in read_predictions(tmp_path / "out.jsonl")] == [{"no", "yes"}] * 2
    tied = tmp_path / "tied.jsonl"
    rows = ({"body": "calm"}, {"body": "was calm", "who": "a"}, {"body": "a calm"}, {"body": "restless", "who": "a"})
    tied.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = command("predict", tied, "-m", run, "-o", tmp_path / "tied.out.jsonl")
    assert done.code == 0, done.err
    groups = [found.group for found in read_predictions(tmp_path / "tied.out.jsonl")]
    assert groups[1] == groups[3]  # the run's column of groups, where a row of the file has it
    assert len(set(groups)) == 3


def test_a_policy_that_no_threshold_keeps_costs_no_training(tmp_path):
    hard = config(tmp_path / "r", calibrate={"threshold": "ppv=1.0"})
    with pytest.raises(CalibrationError, match=r"kept by none.*The training is kept: .*--resume"):
        train_run(hard)
    (weights,) = {file.read_bytes() for file in (tmp_path / "r").rglob("checkpoint-12/model.safetensors")}
    easy = config(tmp_path / "r", calibrate={"threshold": "half"})
    run = train_run(easy, is_resumed=True)
    assert load_bundle(run / "model").rule.policy == "half"
    assert RunFolder(run).config().calibrate.threshold == "half"
    assert {file.read_bytes() for file in run.rglob("checkpoint-12/model.safetensors")} == {weights}
    with pytest.raises(ConfigError, match=r"there: calibrate\.threshold was 'half' and is 'ppv=1.0'"):
        train_run(hard, is_resumed=True)  # whole now: clsgen tune chooses another


def test_recalibration_on_another_sites_rows(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    rows = generate_notes(60, length="short", prevalence=0.4, seed=11)
    site = tmp_path / "site.jsonl"
    site.write_text("".join(json.dumps({"text": row.document, "label": row.label}) + "\n" for row in rows))
    classifier = Classifier.from_pretrained(copy)
    before = classifier.bundle.calibrator
    found = calibrate_run(copy, on=str(site))
    assert found.bundle.calibrator.num_rows == len(rows) != before.num_rows
    assert Classifier.from_pretrained(copy).bundle.calibrator == found.bundle.calibrator
    is_died = np.array([row.label == "died" for row in rows])
    p_old = classifier.predict_proba([row.document for row in rows])[:, 1]
    assert found.before["brier"]["value"] == pytest.approx(np.mean((p_old - is_died) ** 2), abs=1e-6)
    # After: judged by five calibrators, none of which saw the row; the new one on its own rows is not what is shown.
    p_new = Classifier.from_pretrained(copy).predict_proba([row.document for row in rows])[:, 1]
    in_sample = reference.log_loss(is_died, p_new)
    assert found.after["log_loss"]["n"] == 60
    assert found.after["log_loss"]["value"] > in_sample


@pytest.mark.parametrize(("role", "why"), [("test", "calibration rows only"), ("train", "too sure of rows")])
def test_rows_that_another_role_holds_calibrate_nothing(run, tmp_path, role, why):
    copy = shutil.copytree(run, tmp_path / "copy")
    rows = RunFolder(copy).rows(role)[:3]
    site = tmp_path / "site.jsonl"
    records = [{"text": f"  {row.document.upper()}\n", "label": row.label} for row in rows]
    site.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(LeakError, match=f"must hold no document or group of the {role} role; it holds 3. .*{why}"):
        calibrate_run(copy, on=str(site))


def test_documents_of_another_role_calibrate_nothing_whatever_is_asked_about_them(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    settings = (copy / "config.yaml").read_text()
    assert "question: null" in settings
    (copy / "config.yaml").write_text(settings.replace("    question: null", "    question: asked"))
    assert RunFolder(copy).config().data.columns.question == "asked"
    site = tmp_path / "site.jsonl"
    rows = [{"text": row.document, "label": row.label, "asked": "Another one?"} for row in RunFolder(copy).rows("test")]
    site.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(LeakError, match=f"no document or group of the test role; it holds {len(rows)}"):
        calibrate_run(copy, on=str(site))


def test_another_sites_groups_are_looked_at_where_its_file_has_them(tmp_path, command):
    run = train_run(
        config(tmp_path / "r", data={"task": None, "num_rows": None, "train": str(own_data(tmp_path)), "columns": OWN})
    )
    (tested,) = {key for row in RunFolder(run).rows("test")[:1] for key in row.groups}
    site = tmp_path / "site.csv"

    def write(who, more=()):
        words = [("calm", "no"), ("restless", "yes")] * 12
        lines = [f"somebody else number {n} was {word},{answer},{who(n)}" for n, (word, answer) in enumerate(words)]
        site.write_text("\n".join(["body,answer,who", *lines, *more]) + "\n")

    (trained,) = {key for row in RunFolder(run).rows("train")[:1] for key in row.groups}
    for role, key in (("test", tested), ("train", trained)):
        write(lambda n, key=key: key.removeprefix("who:") if n == 4 else f"new{n}")
        with pytest.raises(LeakError, match=f"no document or group of the {role} role; it holds 1, the first is row 5"):
            calibrate_run(run, on=str(site))
    # A patient's rows stand in one fold, so four patients are too few for five folds.
    write(lambda n: f"new{n % 4}")
    with pytest.raises(CalibrationError, match="must stand in 5 groups or more, .*; got 4"):
        calibrate_run(run, on=str(site))
    write(lambda n: f"new{n}", [",no,x", "a note,,y"])
    assert load_bundle(run / "model").calibrator.fitted_on == "calibration"
    found = calibrate_run(run, on=str(site))
    kept = load_bundle(run / "model")
    assert (kept.calibrator.fitted_on, kept.rule.chosen_on) == ("other", "other")
    tune_run(run, policy="half")
    kept = load_bundle(run / "model")
    assert (kept.calibrator.fitted_on, kept.rule.chosen_on) == ("other", "calibration")
    assert found.bundle.calibrator.num_rows == 24
    assert sum(found.dropped.values()) == 2
    assert found.dropped["unlabelled"] == 1
    shown = command("calibrate", run, "--on", site)
    assert "Dropped: 1 rows (unlabelled)" in shown.out
    assert "Caution: the rarest label has 12 rows." in shown.out


def test_a_restricted_model_takes_no_rows_from_elsewhere(run, monkeypatch):
    import dataclasses

    from clsgen.pipeline import calibrate as module

    classifier = Classifier.from_pretrained(run)
    restricted = dataclasses.replace(classifier.bundle, spec=dataclasses.replace(classifier.spec, is_restricted=True))
    monkeypatch.setattr(module.Classifier, "from_pretrained", lambda path, **options: Classifier(restricted))
    with pytest.raises(RestrictedError, match="a restricted model takes rows from a local file only. Give a path"):
        calibrate_run(run, on="someone/notes")


def test_calibration_rows_must_carry_labels(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    site = tmp_path / "site.jsonl"
    site.write_text('{"text": "a note", "label": null}\n')
    with pytest.raises(CalibrationError, match="rows must carry labels; none does"):
        calibrate_run(copy, on=str(site))


def test_restricted_runs_keep_texts_private_and_refuse_trackers(tmp_path, command):
    base = {"train": {"max_steps": 1, "eval_steps": 1}, "data": {"restricted": True}}
    with pytest.raises(ValueError, match="report_to must be empty for restricted data"):
        config(tmp_path / "r", **{**base, "train": {"report_to": ["tensorboard"]}})
    run = train_run(config(tmp_path / "r", **base))
    evaluate_run(run)
    private = [*sorted((run / "data").iterdir()), run / "predictions.jsonl"]
    assert len(private) == 6
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert run.stat().st_mode & 0o777 == 0o700
    assert json.loads((run / "manifest.json").read_text())["restricted"] is True
    assert "Restricted" in (run / "model" / "README.md").read_text()
    note = RunFolder(run).rows("test")[0].document
    done = command("train", run / "config.yaml", f"output={tmp_path / 'dry'}", "--dry-run")
    assert done.code == 0, done.err
    assert "rendered rows are left out" in done.out
    assert note[:40] not in done.out


def test_a_restricted_task_refuses_trackers_even_when_the_config_does_not_say_so(tmp_path, monkeypatch):
    from dataclasses import replace

    from clsgen.pipeline import prepare as module

    loaded = module.load_split(config(tmp_path / "x").data)
    restricted = loaded._replace(spec=replace(loaded.spec, is_restricted=True))
    monkeypatch.setattr(module, "load_split", lambda data: restricted)
    with pytest.raises(RestrictedError, match="report_to must be empty for the restricted task"):
        train_run(config(tmp_path / "r", train={"report_to": ["tensorboard"]}))


def test_dry_run_describes_and_trains_nothing(tmp_path):
    found = dry_run(config(tmp_path / "r"))
    assert not (tmp_path / "r").exists()
    assert found.num_trained == found.num_parameters > 0
    assert sum(found.histogram.values()) == found.num_rows["train"]
    assert found.memory_bytes["gradients"] == 4 * found.num_trained
    row = found.rows[0]
    assert row.target.startswith(("Reason:", "Answer:"))
    assert row.target.endswith("<|end|>")


def test_anybodys_predictions_are_judged(tmp_path):
    rows = [
        {"id": str(i), "probs": {"no": 1 - p, "yes": p}, "decision": "yes" if p > 0.5 else "no", "label": label}
        for i, (p, label) in enumerate([(0.1, "no"), (0.4, "no"), (0.35, "yes"), (0.8, "yes")])
    ]
    source = tmp_path / "predictions.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert evaluate_file(source, tmp_path)["metrics"]["auroc"]["value"] == 0.75  # 3 of 4 pairs in order
    with pytest.raises(DataError, match="positive must be one of two labels; got 'maybe'"):
        evaluate_file(source, tmp_path, positive="maybe")


def test_train_shows_plain_lines_without_a_terminal(tmp_path, command):
    save_config(config(tmp_path / "r", train={"log_steps": 3}), tmp_path / "run.yaml")
    start = time.time()
    done = command("train", tmp_path / "run.yaml", "train.max_steps=6")
    assert done.code == 0, done.err
    assert time.time() - start < 120
    lines = done.out.splitlines()
    assert any(line.startswith("step     3 of 6  train") and "class_loss" in line for line in lines)
    assert any(line.startswith("step     6 of 6  validation") and "auroc" in line for line in lines)
    assert "\x1b[" not in done.out
    assert done.err == ""


def test_predictions_are_made_again_only_for_another_model_or_setting(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    first = evaluate_run(copy)
    made = (copy / "predictions.jsonl").stat().st_mtime_ns
    again = evaluate_run(copy, by=["sex"])
    assert (copy / "predictions.jsonl").stat().st_mtime_ns == made
    assert again["metrics"] == first["metrics"]
    assert {part["value"] for part in again["subgroups"]["sex"]} == {"female", "male"}
    lines = (copy / "predictions.jsonl").read_text().splitlines()
    (copy / "predictions.jsonl").write_text("\n".join(lines[::-1]) + "\n")
    evaluate_run(copy)
    assert (copy / "predictions.jsonl").read_text().splitlines() == lines, "altered predictions are made again"


def test_what_a_run_may_be_judged_by(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    with pytest.raises(ConfigError, match="by must be known of the test rows .*sex.*; got 'site'"):
        evaluate_run(copy, by=["site"])
    with pytest.raises(ConfigError, match="by must not be a proxy of the label; got 'days_to_death'"):
        evaluate_run(copy, by=["days_to_death"])


def test_evidence_removal_of_a_run(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    evaluate_run(copy)
    found = remove_evidence(copy)
    assert found["num_rows"] + sum(found["num_skipped"].values()) == len(RunFolder(copy).rows("test"))
    assert json.loads((copy / "evidence.json").read_text()) == found


def test_a_column_of_free_text_is_no_subgroup_and_is_refused_before_training(tmp_path):
    rows = tmp_path / "rows.csv"
    lines = [f"note {i} of the {'wet' if i % 2 else 'dry'} day,{'yn'[i % 2]},word{i},site{i % 3}" for i in range(200)]
    rows.write_text("text,label,free,site\n" + "\n".join(lines) + "\n")
    own = {"task": None, "num_rows": None, "train": str(rows), "explanations": "none"}
    data = own | {"columns": {"subgroups": ["site", "free"]}}
    with pytest.raises(DataError, match="free must hold numbers, or at most 20 different values"):
        train_run(config(tmp_path / "r", data=data))
    run = train_run(config(tmp_path / "s", data=own | {"columns": {"subgroups": ["site"]}}))
    assert len(evaluate_run(run)["subgroups"]["site"]) == 3
    site = tmp_path / "site.csv"
    site.write_text("text,label\n" + "\n".join(f"another {i} day,{'yn'[i % 2]}" for i in range(30)) + "\n")
    assert calibrate_run(run, on=str(site)).before is not None


def test_the_model_knows_what_became_of_calibration_rows_of_like_probability(run):
    bundle = load_bundle(run / "model")
    rows = RunFolder(run).rows("calibration")
    predicted = Classifier(bundle).predict(rows)
    for label in bundle.spec.labels:
        for probability in (0.1, 0.5):
            low, high = bundle.similar.bounds(probability)
            near = [row for row in predicted if low <= row.probs[label] <= high]
            found = bundle.similar.around(label, probability)
            assert (found.num_rows, found.num_with_label) == (len(near), sum(row.label == label for row in near))
    assert sum(found.num_rows for found in bundle.similar.windows["died"]) > 0
