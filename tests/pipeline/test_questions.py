"""Several questions in one run: one role a text, one language model, a model directory each."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from clsgen.artifacts import read_record
from clsgen.cli.main import app
from clsgen.config.load import load_config
from clsgen.config.run import RunConfig
from clsgen.data.batch import collate
from clsgen.data.predictions import read_predictions
from clsgen.errors import ConfigError
from clsgen.inference.batch import WINDOW
from clsgen.inference.panel import Panel
from clsgen.inference.predictor import Classifier
from clsgen.model.losses import class_loss_by_question, token_loss
from clsgen.pipeline.dry_run import dry_run
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.prepare import prepare_questions
from clsgen.pipeline.questions import task_of
from clsgen.pipeline.rows import load_questions, load_split
from clsgen.pipeline.train import train_run
from clsgen.types import ROLES

QUESTIONS = {
    "rain": {
        "label": "rained",
        "positive": "yes",
        "explanation": "why",
        "instruction": "Did it rain? Answer yes or no.",
    },
    "wind": {"label": "wind", "labels": ["calm", "breeze", "storm"], "instruction": "How strong was the wind?"},
}


def table(folder: Path, count: int = 120) -> Path:
    """Rows with two labels, some of them missing, and texts that stand there twice."""
    rng = np.random.default_rng(3)
    lines = []
    for index in range(count):
        is_wet, wind = bool(rng.random() < 0.4), ("calm", "breeze", "storm")[rng.integers(3)]
        seen = f"{'wet' if is_wet else 'dry'} streets and {wind} trees"
        day = index if index % 10 else max(index - 1, 0)
        record = {
            "note": f"On day {day} we saw {seen}.",
            "rained": "yes" if is_wet else "no",
            "wind": wind,
            "why": seen,
        }
        if index % 17 == 5:
            record["wind"] = None
        lines.append(json.dumps(record))
    file = folder / "days.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def settings(folder: Path, **sections: Any) -> RunConfig:
    values: dict[str, Any] = {
        "output": str(folder / "run"),
        "data": {"train": str(table(folder)), "columns": {"text": ["note"]}, "questions": QUESTIONS},
        "model": {
            "init": "scratch",
            "tuning": "full",
            "max_length_tokens": 128,
            "max_explanation_tokens": 40,
            "scratch": {"vocabulary": 400, "width": 32, "num_layers": 2, "num_heads": 2},
        },
        "train": {"epochs": 1, "batch_size": 8, "learning_rate": 3e-3, "monitor": "auroc", "patience": None},
    }
    for name, section in sections.items():
        values[name] = {**values[name], **section} if isinstance(section, dict) else section
    return RunConfig.model_validate(values)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(settings(tmp_path_factory.mktemp("questions")))


def test_a_text_has_one_role_whatever_is_asked(tmp_path: Path) -> None:
    config = settings(tmp_path)
    found = load_questions(config.data)
    role_of: dict[str, str] = {}
    for each in found.values():
        for role in ROLES:
            for row in each.split.roles[role]:
                assert role_of.setdefault(row.document, role) == role
    assert found["rain"].spec.labels == ("no", "yes")
    assert found["wind"].spec.labels == ("calm", "breeze", "storm")
    assert {row.label for row in found["wind"].split.roles["test"]} == {"calm", "breeze", "storm"}
    assert found["wind"].split.roles["train"][0].explanation is None
    one = load_split(config.data.model_copy(update={"question": "wind"}))
    assert one.split == found["wind"].split
    with pytest.raises(ConfigError, match=r"data.question must name one of rain, wind"):
        load_split(config.data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"question": "snow"}, "data.question must be one of rain, wind"),
        ({"instruction": "Say it."}, "data.instruction must be null with data.questions"),
        ({"questions": {"a/b": {"label": "x"}}}, "names must be letters"),
        ({"questions": {}, "question": "rain"}, "data.question must be null without"),
        ({"explanations": "teacher"}, "must not be teacher with several questions"),
        ({"train": None, "task": "synthetic-notes"}, "data.questions must go with data.train"),
        ({"questions": {"rain": {}}}, "label"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings(tmp_path, data={**settings(tmp_path).data.model_dump(mode="json"), **changes})


def test_every_question_has_a_run_directory_that_works_alone(run: Path) -> None:
    for name in QUESTIONS:
        part = run / "questions" / name
        classifier = Classifier.from_pretrained(part)
        assert classifier.spec.name == name
        assert load_config(part / "config.yaml").data.question == name
        probs = classifier.predict_proba(RunFolder(part).rows("test"))
        assert probs.shape == (len(RunFolder(part).rows("test")), classifier.spec.num_labels)
        assert sum(classifier.bundle.calibrator.class_counts) == len(RunFolder(part).rows("calibration"))
    weights = [run / "questions" / name / "model" / "model.safetensors" for name in QUESTIONS]
    assert weights[0].stat().st_ino == weights[1].stat().st_ino
    history = read_record(run / "manifest.json")["history"]
    assert {"eval_auroc", "eval_auroc_rain", "eval_auroc_wind", "eval_brier_wind"} <= set(history[-2]) | set(history[0])


def test_a_panel_answers_as_each_classifier_alone(run: Path) -> None:
    panel = Panel.from_pretrained(run, batch_tokens=256)
    models = [classifier.bundle.model.language_model for classifier in panel.classifiers.values()]
    assert models[0] is models[1]
    texts = [row.document for row in RunFolder(run / "questions" / "rain").rows("test")]
    found, probs = panel.predict(texts, explain="all"), panel.predict_proba(texts)
    for name in QUESTIONS:
        alone = Classifier.from_pretrained(run / "questions" / name)
        assert np.allclose(probs[name], alone.predict_proba(texts), atol=1e-5)
        reasons = "all" if name == "rain" else "none"  # nobody explains the wind
        for each, single in zip(found[name], alone.predict(texts, explain=reasons), strict=True):
            assert each.probs == pytest.approx(single.probs, abs=1e-5)
            assert (each.id, each.decision, each.explanation) == (single.id, single.decision, single.explanation)
    one = panel.predict_questions(texts[0])
    assert {name: each.decision for name, each in one.items()} == {name: found[name][0].decision for name in QUESTIONS}
    assert panel.predict([]) == {"rain": [], "wind": []}


def num_read(monkeypatch: pytest.MonkeyPatch, work: Any) -> int:
    """Tokens that go through the first layer's attention while `work` runs."""
    from clsgen.model import decoder

    seen = 0
    real = decoder.Decoder._run

    def counted(self: Any, ids_T: Any, *rest: Any) -> Any:
        nonlocal seen
        seen += len(ids_T)
        return real(self, ids_T, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(decoder.Decoder, "_run", counted)
        work()
    return seen


def test_a_panel_reads_each_text_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = Panel.from_pretrained(run)
    classifiers = panel.classifiers
    texts = sorted({row.document for row in RunFolder(run / "questions" / "rain").rows("test")})
    prompts = {name: [each.bundle.renderer.prompt(text) for text in texts] for name, each in classifiers.items()}
    once = sum(prompt.document_end for prompt in prompts["rain"])
    asked = sum(len(prompt.ids) - prompt.document_end for each in prompts.values() for prompt in each)
    assert num_read(monkeypatch, lambda: panel.predict_proba(texts)) == once + asked
    assert all(classifier.engine.memory is None for classifier in classifiers.values())
    alone = num_read(monkeypatch, lambda: [each.predict_proba(texts) for each in classifiers.values()])
    assert alone == 2 * once + asked


def test_training_on_shared_documents_has_the_gradients_of_separate_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(tmp_path)
    parts = prepare_questions(config)
    task = task_of(config, parts)
    assert task.model.is_packed
    torch.manual_seed(0)
    torch.nn.init.normal_(task.model.head.weight, std=0.3)
    by_document: dict[str, list[Any]] = {}
    for row in task.train:
        by_document.setdefault(row.id, []).append(row)
    rows = [row for pair in list(by_document.values())[:4] for row in pair]
    assert len({row.id for row in rows}) < len(rows)
    batch = collate(rows, pad_id=parts["rain"].built.pad_id)._asdict()
    labels_B, target_N = batch.pop("labels_B"), batch.pop("target_N")
    assert task.spans == ((0, 2), (2, 5))

    def gradients(shares: bool) -> dict[str, torch.Tensor]:
        task.model.is_packed = shares
        task.model.zero_grad()
        output = task.model(**batch)
        loss = class_loss_by_question(output.class_logits_BC, labels_B, task.spans or ()).total
        (loss + token_loss(output.token_logits_NV, target_N).total / 10).backward()
        return {name: p.grad.clone() for name, p in task.model.named_parameters() if p.grad is not None}

    tokens = {shares: num_read(monkeypatch, lambda shares=shares: gradients(shares)) for shares in (True, False)}
    separate, shared = gradients(False), gradients(True)
    assert separate.keys() == shared.keys()
    for name, gradient in separate.items():
        assert torch.allclose(gradient, shared[name], rtol=1e-5, atol=1e-5), name
    assert 0 < tokens[True] < sum(row.num_tokens for row in rows)
    assert tokens[False] == 0  # the stock forward


def test_rows_of_a_question_learn_from_its_own_columns_alone() -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()
    labels = torch.tensor([0, 1, 2, 4, -100, 3])
    weights = torch.tensor([0.5, 1.5, 1.0, 2.0, 0.7])
    spans = [(0, 2), (2, 5)]
    found = class_loss_by_question(logits, labels, spans, class_weights_C=weights, label_smoothing=0.1)
    by_hand = torch.zeros(())
    for row, label in enumerate(labels.tolist()):
        for start, end in spans:
            if start <= label < end:
                shifted = (logits[row, start:end] + weights[start:end].log()).log_softmax(0)
                share = torch.full((end - start,), 0.1 / (end - start))
                share[label - start] += 0.9
                by_hand = by_hand - (share * weights[start:end] * shifted).sum()
    assert found.total.item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert found.weight.item() == 5
    found.total.backward()
    assert logits.grad is not None
    assert (logits.grad[0, 2:] == 0).all()
    assert (logits.grad[3, :2] == 0).all()
    assert (logits.grad[4] == 0).all()


def test_a_resumed_run_gives_the_same_models(tmp_path: Path) -> None:
    config = settings(tmp_path / "a") if (tmp_path / "a").mkdir() is None else None
    assert config is not None
    whole = train_run(config)
    (tmp_path / "b").mkdir()
    other = settings(tmp_path / "b")
    killed = train_run(other)
    (killed / "questions" / "wind" / "model" / "clsgen.json").unlink()
    assert train_run(other, is_resumed=True) == killed
    for name in QUESTIONS:
        weights = [
            Classifier.from_pretrained(each / "questions" / name).bundle.model.head.weight for each in (whole, killed)
        ]
        assert torch.equal(*weights)
    messages: list[str] = []
    train_run(other, is_resumed=True, notify=messages.append)
    assert messages == ["This run is complete: there is nothing to resume."]


def test_the_command_line_trains_judges_and_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsgen.inference.batch.WINDOW", 16)
    config = settings(tmp_path)
    (tmp_path / "run.yaml").write_text(json.dumps(config.model_dump(mode="json")), encoding="utf-8")
    runner = CliRunner()

    def call(*arguments: str) -> str:
        found = runner.invoke(app, list(arguments), catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.output

    assert "questions/wind/model" in call("train", str(tmp_path / "run.yaml")).replace("\n", "")
    judged = call("eval", config.output)
    assert "rain" in judged
    assert (Path(config.output) / "questions" / "wind" / "metrics.json").is_file()
    out = tmp_path / "out"
    source = str(config.data.train)
    call("predict", source, "-o", str(out), "-m", config.output)
    alone = tmp_path / "alone.jsonl"
    call("predict", source, "-o", str(alone), "-m", f"{config.output}/questions/wind")
    together, single = read_predictions(out / "wind.jsonl"), read_predictions(alone)
    assert [dataclasses.replace(each, probs={}, logits=()) for each in together] == [
        dataclasses.replace(each, probs={}, logits=()) for each in single
    ]
    assert {each.label for each in together} == {"calm", "breeze", "storm", None}
    assert [each.probs["calm"] for each in together] == pytest.approx([each.probs["calm"] for each in single], abs=1e-5)
    refused = runner.invoke(app, ["predict", source, "-o", str(out), "-m", config.output, "--prior", "0.5,0.5"])
    assert isinstance(refused.exception, ConfigError | SystemExit)
    assert WINDOW == 256


def test_activated_models_of_several_runs_share_the_base_and_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny

    base = tiny.save("llama", tmp_path / "llama")
    (tmp_path / "data").mkdir()
    model = {
        "init": "pretrained",
        "backbone": str(base),
        "tuning": "activated",
        "scratch": {},
        "lora": {"rank": 4, "dropout": 0.0},
        "max_length_tokens": 192,
    }
    runs = {}
    for name in QUESTIONS:
        config = settings(tmp_path / "data", model=model, train={"epochs": 1})
        data = config.data.model_copy(update={"question": name})
        runs[name] = train_run(config.model_copy(update={"data": data, "output": str(tmp_path / name)}))
    panel = Panel.from_pretrained(runs)
    models = [classifier.bundle.model.language_model for classifier in panel.classifiers.values()]
    assert models[0] is not models[1]
    shared = [{p.data_ptr() for n, p in each.named_parameters() if "lora_" not in n} for each in models]
    assert shared[0] == shared[1]
    texts = sorted({row.document for row in RunFolder(runs["rain"]).rows("test")})
    prompts = {name: [each.bundle.renderer.prompt(text) for text in texts] for name, each in panel.classifiers.items()}
    once = sum(prompt.document_end for prompt in prompts["rain"])
    asked = sum(len(prompt.ids) - prompt.document_end for each in prompts.values() for prompt in each)
    assert num_read(monkeypatch, lambda: panel.predict_proba(texts)) == once + asked
    for name, probs in panel.predict_proba(texts).items():
        assert np.allclose(probs, Classifier.from_pretrained(runs[name]).predict_proba(texts), atol=1e-5)


def test_a_dry_run_shows_rows_of_every_question(tmp_path: Path) -> None:
    config = settings(tmp_path)
    found = dry_run(config)
    assert {row.label for row in found.rows} <= {"yes", "no", "calm", "breeze", "storm"}
    assert any("Did it rain?" in row.prompt for row in found.rows)
    assert any("How strong" in row.prompt for row in found.rows)
    assert found.num_rows["test"] == sum(len(each.split.roles["test"]) for each in load_questions(config.data).values())


def test_a_merged_run_is_whole_for_every_question(tmp_path: Path) -> None:
    import tiny

    base = tiny.save("llama", tmp_path / "llama")
    model = {"init": "pretrained", "backbone": str(base), "tuning": "lora", "scratch": {}, "max_length_tokens": 192}
    run = train_run(settings(tmp_path, model=model), is_merged=True)
    texts = [row.document for row in RunFolder(run / "questions" / "rain").rows("test")]
    for name in QUESTIONS:
        bundle = Classifier.from_pretrained(run / "questions" / name).bundle
        assert bundle.is_whole
        assert bundle.model.tuning == "full"
    assert set(Panel.from_pretrained(run).predict(texts)) == set(QUESTIONS)
