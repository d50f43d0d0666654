"""Where a changed setting shows: a folder of files and one trained run, and probes of what a configuration leads to."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from clsgen.config.load import save_config
from clsgen.config.run import RunConfig
from clsgen.data.predictions import read_predictions
from clsgen.data.teacher.prompts import write_prompts
from clsgen.errors import ClsgenError
from clsgen.inference.fast_engine import FastEngine
from clsgen.inference.predictor import Classifier
from clsgen.llm.chat import ChatReply, ChatRequest
from clsgen.model import backbone
from clsgen.model.checkpoint import load_bundle, save_bundle
from clsgen.pipeline import build as build_module
from clsgen.pipeline import synth as synth_module
from clsgen.pipeline import train as train_module
from clsgen.pipeline.calibrate import calibrate_run
from clsgen.pipeline.evaluate import evaluate_run
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.loading import classifier_of
from clsgen.pipeline.prepare import Prepared, prepare
from clsgen.pipeline.rows import LoadedSplit, load_split
from clsgen.tasks.synthetic import generate_notes, write_lcd

Changes = Mapping[str, Any]


@dataclass
class Lab:
    """Where probes find what they share: files, tiny backbones, one trained run; prepared runs are kept."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    kept: dict[str, Prepared] = field(default_factory=dict)

    def config(self, changes: Changes) -> RunConfig:
        """A small run on generated notes with `changes` (dotted) put over it; `{lab}` is the folder of the files."""
        values: dict[str, Any] = {}
        for path, value in {**SMALL, **changes}.items():
            *sections, name = path.split(".")
            place = values
            for section in sections:
                place = place.setdefault(section, {})
            place[name] = value.replace("{lab}", str(self.folder)) if isinstance(value, str) else value
        return RunConfig.model_validate(values)

    def prepared(self, config: RunConfig) -> Prepared:
        """Everything before the first step of a run; the same object for the same settings."""
        key = config.model_dump_json()
        if key not in self.kept:
            self.kept[key] = prepare(config)
        return self.kept[key]

    def run(self, config: RunConfig) -> Path:
        """The trained run, under these settings for what follows training."""
        save_config(config.model_copy(update={"output": str(self.folder / "run")}), self.folder / "run" / "config.yaml")
        return self.folder / "run"


SMALL: Changes = {
    "output": "{lab}/none",
    "data.task": "synthetic-notes",
    "data.num_rows": 120,
    "model.init": "scratch",
    "model.tuning": "full",
    "model.max_length_tokens": 320,
    "model.max_explanation_tokens": 96,
    "model.scratch.vocabulary": 400,
    "model.scratch.width": 32,
    "model.scratch.num_layers": 1,
    "model.scratch.num_heads": 2,
    "train.max_steps": 2,
    "train.eval_steps": 1,
    "train.batch_size": 4,
    "train.precision": "float32",
    "train.head_learning_rate": 0.1,
    "train.num_monitor_explanations": 0,
    "evaluate.num_bootstrap": 100,
}


def open_lab(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Write the files and train the run."""
    write_tables(folder)
    write_prompts(folder / "prompts")
    blind = folder / "prompts" / "blind.txt"
    blind.write_text(blind.read_text(encoding="utf-8").replace("Think it through first.", "Think."), encoding="utf-8")
    for name, seed in (("lcd", 0), ("other", 1)):
        notes = generate_notes(80, length="short", prevalence=0.4, seed=seed)
        for days in (30, 60):
            write_lcd(folder / name / f"out_hospital_mortality_{days}", notes, horizon_days=days)
    for family in ("llama", "qwen"):
        tiny.save(family, folder / family)
    lab = Lab(folder, monkeypatch)
    spread(train_module.train_run(lab.config({"output": "{lab}/run", "calibrate.method": "none"})))
    return lab


def spread(run: Path) -> None:
    """Turn the head of a model that has learnt nothing to where its rows differ most, so that probabilities do."""
    bundle = load_bundle(run / "model")
    seen: list[torch.Tensor] = []
    hook = bundle.model.head.register_forward_hook(lambda head, read, logits: seen.append(read[0]))
    Classifier(bundle).class_logits(RunFolder(run).rows("test"))
    hook.remove()
    centre, hidden_ND = seen[0].mean(dim=0), torch.cat(seen)
    direction = torch.linalg.svd(hidden_ND - hidden_ND.mean(dim=0)).Vh[0]
    direction -= (direction @ centre) / (centre @ centre) * centre
    with torch.no_grad():
        bundle.model.head.weight[1] = direction / (hidden_ND @ direction).std()
        bundle.model.head.weight[0] = 0.0
    save_bundle(bundle, run / "model")


def write_tables(folder: Path) -> None:
    rows = [
        {
            "text": f"on day {index} the streets were {'wet' if index % 2 else 'dry'}",
            "other text": f"the sky was {'grey' if index % 2 else 'blue'} on day {index}",
            "asked": f"what came on day {index}?",
            "label": ("sun", "rain")[index % 2],
            "other label": ("cold", "warm")[index // 2 % 2],
            "why": f"the streets were {'wet' if index % 2 else 'dry'}",
            "day": str(index // 4),
            "key": f"k{index}",
        }
        for index in range(80)
    ]
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "rows.jsonl").write_text("".join(lines))
    (folder / "fewer.jsonl").write_text("".join(lines[:60]))
    (folder / "held out.jsonl").write_text("".join(lines[60:]))


# ---- probes: what a configuration leads to ----

Probe = Callable[[Lab, RunConfig], Any]


def rows(lab: Lab, config: RunConfig) -> Any:
    """Every row in its role, whatever order; or the error's kind."""
    try:
        split = load_split(config.data).split
    except ClsgenError as error:
        return type(error).__name__
    return {
        role: sorted(
            (row.id, row.document, row.question, row.label, row.explanation, row.groups, sorted(row.metadata.items()))
            for row in found
        )
        for role, found in split.roles.items()
    }


def sizes(lab: Lab, config: RunConfig) -> dict[str, int]:
    """Rows in each role."""
    return {role: len(found) for role, found in load_split(config.data).split.roles.items()}


def loaded(read: Callable[[LoadedSplit], Any]) -> Probe:
    return lambda lab, config: read(load_split(config.data))


def made(read: Callable[[Prepared], Any]) -> Probe:
    """Something of the run as it stands before the first step."""
    return lambda lab, config: read(lab.prepared(config))


def model_of(read: Callable[[Any], Any]) -> Probe:
    return made(lambda prepared: read(prepared.built.model))


def shapes(model: torch.nn.Module) -> dict[str, Any]:
    return {name: (tuple(each.shape), each.dtype, each.requires_grad) for name, each in model.named_parameters()}


def weights(model: torch.nn.Module) -> list[float]:
    return [float(each.detach().double().sum()) for each in model.parameters()]


def modes(prepared: Prepared) -> list[str]:
    return [row.mode for row in prepared.train.rows]


def explanations(prepared: Prepared) -> list[str | None]:
    return [row.explanation for row in prepared.split.roles["train"]]


class Recorder:
    """Stands where the trainer stands, and keeps what it was given."""

    def __init__(self, model: Any, arguments: Any, **given: Any) -> None:
        self.model, self.arguments, self.given = model, arguments, given
        self.state = type("State", (), {"log_history": []})
        Recorder.last = self

    last: Recorder

    def train(self, **_: Any) -> None:
        pass


def trainer(read: Callable[[Recorder], Any]) -> Probe:
    """Something that the trainer of the run is given."""

    def probe(lab: Lab, config: RunConfig) -> Any:
        prepared = lab.prepared(config)
        with lab.monkeypatch.context() as patch:
            patch.setattr(train_module, "DualTrainer", Recorder)
            train_module.fit(config, {"": prepared}, RunFolder(lab.folder / "none"), is_resumed=False)
        return read(Recorder.last)

    return probe


def argument(name: str) -> Probe:
    return trainer(lambda given: getattr(given.arguments, name))


def objective(name: str) -> Probe:
    return trainer(lambda given: getattr(given.given["objective"], name))


def patience(given: Recorder) -> list[int]:
    return [callback.early_stopping_patience for callback in given.given["callbacks"]]


def monitored(given: Recorder) -> set[str]:
    """Figures of an evaluation."""
    model = given.model.eval()
    return set(given.given["on_evaluate"](model, torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])))


def recomputes(given: Recorder) -> list[bool]:
    layers = backbone.body_of(given.model.language_model).layers
    return [bool(layer.gradient_checkpointing) for layer in layers]


def kept_copy(lab: Lab, config: RunConfig) -> int:
    return lab.prepared(config).reference_bytes


def asked_revision(lab: Lab, config: RunConfig) -> str:
    """The revision that the hub is asked for."""

    class Asked(Exception):
        pass

    def ask(name: str, file: str, *, revision: str | None) -> str:
        raise Asked(f"{name} {revision}")

    with lab.monkeypatch.context() as patch:
        patch.setattr(backbone, "hf_hub_download", ask)
        with pytest.raises(Asked) as caught:
            build_module.preflight(config.model)
    return str(caught.value)


def calibrated(read: Callable[[Any], Any]) -> Probe:
    """Something of the trained run after it is calibrated again; the run itself stays."""

    def probe(lab: Lab, config: RunConfig) -> Any:
        copy = lab.folder / "calibrated again"
        shutil.copytree(lab.run(config), copy)
        try:
            return read(calibrate_run(copy).bundle)
        finally:
            shutil.rmtree(copy)

    return probe


def loops(lab: Lab, config: RunConfig) -> list[str | None]:
    """Explanations of a model that is trained here: what keeps it out of loops is stored in it."""
    folder = lab.folder / f"loops {config.predict.no_repeat_ngram}"
    run = train_module.train_run(config.model_copy(update={"output": str(folder)}))
    evaluate_run(run)
    return [each.explanation for each in read_predictions(run / "predictions.jsonl")]


def result(read: Callable[[dict[str, Any]], Any]) -> Probe:
    """Something of the metrics of the trained run."""
    return lambda lab, config: read(evaluate_run(lab.run(config)))


def predictions(read: Callable[[Any], Any]) -> Probe:
    """Something of every prediction of the trained run."""

    def probe(lab: Lab, config: RunConfig) -> list[Any]:
        run = lab.run(config)
        evaluate_run(run)
        return [read(each) for each in read_predictions(run / "predictions.jsonl")]

    return probe


def engine_kind(lab: Lab, config: RunConfig) -> str:
    """The class of the engine that reads the run's model."""
    return type(classifier_of(RunFolder(lab.run(config)))._engine).__name__


def num_forwards(lab: Lab, config: RunConfig) -> int:
    """Batches that the test rows are read in."""
    read: list[int] = []
    with lab.monkeypatch.context() as patch:
        original = FastEngine.class_logits
        patch.setattr(FastEngine, "class_logits", lambda self, ids: read.append(len(ids)) or original(self, ids))
        evaluate_run(lab.run(config))
    return len(read)


def client(read: Callable[[Any], Any]) -> Probe:
    """Something of the client that a teacher is asked through: its arguments, by name."""

    def probe(lab: Lab, config: RunConfig) -> Any:
        given: dict[str, Any] = {}

        def make(endpoint: str, model: str, **arguments: Any) -> Any:
            given.update(endpoint=endpoint, model=model, **arguments)
            return Mouth()

        with lab.monkeypatch.context() as patch:
            patch.setenv("LAB_KEY", "secret")
            patch.setattr(synth_module, "OpenAIChat", make)
            synth_module._chat(synth_module._job(config), ())
        return read(given)

    return probe


class Mouth:
    """A teacher in this process: what it says depends on the prompt and the seed."""

    model = "m"

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def ask(self, request: ChatRequest) -> ChatReply:
        self.asked.append((request.messages, request.temperature, request.top_p, request.max_tokens, request.seed))
        text = request.messages[-1][1]
        number = sum(map(ord, text)) + int(request.seed or 0)
        told = re.search(r"answer is: (\w+)", text)
        label = told[1] if told else ("survived", "died")[number % 2]
        reason = (
            f"In case {number} the zebra was seen and the patient of that day was very ill indeed.",
            f"Case {number} was a hard one, and the note tells of many findings that point to a bad end for the "
            "patient, such as the state of the lungs, the kidneys, the heart and the liver.",
            f"Die Patientin {number} war bei der Aufnahme schwer krank und brauchte zwei Vasopressoren für lange Zeit.",
        )[number % 3]
        return ChatReply(json.dumps({"reason": reason, "answer": label}), None, "stop", 9, 9, "m")


def synthesised(read: Callable[[Mouth, list[dict[str, Any]]], Any]) -> Probe:
    """Something of what a teacher is asked, or of what is kept of its answers."""

    def probe(lab: Lab, config: RunConfig) -> Any:
        mouth = Mouth()
        with lab.monkeypatch.context() as patch:
            patch.setattr(synth_module, "_chat", lambda job, hosts: mouth)
            folder = synth_module.synthesise(config).folder
        lines = (folder / "explanations.jsonl").read_text(encoding="utf-8").splitlines()
        shutil.rmtree(folder)
        return read(mouth, [json.loads(line) for line in lines])

    return probe


def asked_of(mouth: Mouth, kept: list[dict[str, Any]]) -> Any:
    return sorted(mouth.asked)


def kept_of(mouth: Mouth, kept: list[dict[str, Any]]) -> Any:
    return [(record["id"], record["explanation"]) for record in kept]


class FolderIsFree(Exception):
    """Where a run that was not refused is stopped."""


def refusal(lab: Lab, config: RunConfig) -> str:
    """How a run that is to go there ends, before it begins."""

    def stop(_: RunConfig) -> Prepared:
        raise FolderIsFree

    with lab.monkeypatch.context() as patch:
        patch.setattr(train_module, "prepare", stop)
        try:
            train_module.train_run(config)
        except (ClsgenError, FolderIsFree) as error:
            return type(error).__name__
    raise AssertionError("neither refused nor begun")
