"""What only a CUDA device can show: it gives what the processor gives, and 4-bit weights train and come back."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

import tiny
from clsgen.config.run import RunConfig
from clsgen.errors import ConfigError
from clsgen.inference.predictor import Classifier
from clsgen.model.checkpoint import load_bundle, save_bundle
from clsgen.model.embedded import located
from clsgen.pipeline.export import export_run
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.train import train_run

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import build_base
from base.optimizer import Masters
from base.stage import Schedule, Stage

pytestmark = pytest.mark.gpu


def trained(folder: Path, tuning: str, **model: object) -> RunFolder:
    settings = {
        "output": str(folder / "run"),
        "data": {"task": "synthetic-notes", "num_rows": 400},
        "model": {
            "backbone": "embedded",
            "tuning": tuning,
            "max_length_tokens": 320,
            "max_explanation_tokens": 64,
            **model,
        },
        "train": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "num_monitor_explanations": 4},
    }
    train_run(RunConfig.model_validate(settings))
    return RunFolder(folder / "run")


@pytest.mark.parametrize("tuning", ["lora", "activated", "full"])
def test_the_gpu_gives_what_the_processor_gives(tmp_path, tuning):
    run = trained(tmp_path, tuning)
    rows = run.rows("test")
    here, there = (Classifier.from_pretrained(tmp_path / "run", device=device) for device in ("cpu", "cuda"))
    assert there.bundle.model.device.type == "cuda"
    probs = here.predict_proba(rows)
    assert np.abs(probs - there.predict_proba(rows)).max() < 1e-3
    assert np.ptp(probs[:, 1]) > 0.02
    ours, theirs = (each.predict(rows[:20], explain="all") for each in (here, there))
    same = sum(a.explanation == b.explanation for a, b in zip(ours, theirs, strict=True))
    assert same >= 18  # a tie of two ids may fall the other way


def test_on_the_gpu_the_fast_engine_gives_what_the_stock_forward_gives(tmp_path):
    run = trained(tmp_path, "lora")
    rows = run.rows("test")
    fast, plain = (Classifier.from_pretrained(tmp_path / "run", engine=engine) for engine in ("auto", "plain"))
    assert (fast.engine.name, plain.engine.name) == ("fast", "plain")
    assert np.abs(fast.predict_proba(rows) - plain.predict_proba(rows)).max() < 1e-4


def test_4_bit_weights_train_and_come_back(tmp_path):
    run = trained(tmp_path, "qlora", dtype="bfloat16")
    rows = run.rows("test")
    first, again = (Classifier(load_bundle(run.model)) for _ in range(2))
    assert np.array_equal(first.predict_proba(rows), again.predict_proba(rows))
    assert np.ptp(first.predict_proba(rows)[:, 1]) > 0.005


def test_an_export_of_4_bit_weights_is_refused_and_says_why(tmp_path):
    trained(tmp_path, "qlora", dtype="bfloat16")
    with pytest.raises(ConfigError, match="in 4 bits"):
        export_run(tmp_path / "run", "folded", tmp_path / "out")


def test_reload_is_memory_in_4_bits(tmp_path):
    built = tiny.dual(Path(located("embedded")), tuning="qlora")
    assert built.model.head.weight.device == built.model.language_model.device
    bundle = tiny.bundle_of(built)
    save_bundle(bundle, tmp_path / "m")
    texts = ["On day 3 we saw wet streets.", "Dry streets and a clear sky, all day long.", "puddles"]
    probs = Classifier(bundle).predict_proba(texts)
    assert np.array_equal(probs, Classifier(load_bundle(tmp_path / "m", base=located("embedded"))).predict_proba(texts))
    assert np.ptp(probs[:, 1]) > 1e-3


def test_a_step_of_the_bases_training_is_that_of_the_processor(tmp_path, monkeypatch):
    tokenizer = AutoTokenizer.from_pretrained(located("embedded"))
    shape = {"width": 128, "layers": 2, "heads": 2, "key_heads": 1, "mlp": 256, "context": 512, "rope_theta": 1e4}
    block = np.random.default_rng(0).integers(100, 4_000, (4, 257))
    block[:, ::50] = end_id = tokenizer.eos_token_id
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    nats = {}
    for device in ("cpu", "cuda"):
        monkeypatch.setattr(build_base, "DEVICE", device)
        model = build_base.make_model(tokenizer, {**shape, "seed": 1})
        model.set_attn_implementation(build_base.kernels.ATTENTION)
        masters = Masters(model, matrix_rate=0.02, other_rate=0.006, decay=0.1)
        stage = Stage(model, masters, Schedule(4096, 1024, 1024, ((1.0, 256),), 1, 0.0), tmp_path / f"{device}.jsonl")
        nats[device] = [stage.packed_step(block, end_id=end_id, factor=1.0) for _ in range(3)]
    assert nats["cuda"] == pytest.approx(nats["cpu"], rel=0.01)
    assert nats["cuda"][-1] < nats["cuda"][0]
