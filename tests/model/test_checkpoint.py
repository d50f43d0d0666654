"""A model directory: reload = memory bit for bit, complete, movable, refused when anything is off."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny
from clsgen.artifacts import write_manifest
from clsgen.errors import ArtifactError, ConfigError, TemplateError
from clsgen.inference.predictor import Classifier
from clsgen.model import checkpoint as checkpoint_module
from clsgen.model.checkpoint import Bundle, load_bundle, merged, read_record, save_bundle, save_calibration
from clsgen.model.decision import DecisionRule

TEXTS = ["On day 3 we saw wet streets.", "Dry streets and a clear sky, all day long.", "puddles"]


def saved(tmp_path: Path, *, family: str = "llama", tuning: str = "lora") -> tuple[Bundle, Path]:
    built = tiny.dual(tiny.save(family, tmp_path / "base"), tuning=tuning)
    bundle = tiny.bundle_of(built, threshold=0.37, has_explanations=tuning != "head_only")
    save_bundle(bundle, tmp_path / "m")
    return bundle, tmp_path / "m"


def answers(bundle: Bundle):
    classifier = Classifier(bundle)
    probs = classifier.predict_proba(TEXTS)
    texts = classifier.predict(TEXTS, explain="all") if bundle.has_explanations else []
    return probs, [(found.explanation, found.decision, found.stated_label) for found in texts]


@pytest.mark.parametrize("tuning", ["full", "lora", "head_only"])
@pytest.mark.parametrize("family", ["llama", "qwen", "gpt2"])
def test_reload_is_memory_bit_for_bit(tmp_path, family, tuning):
    bundle, folder = saved(tmp_path, family=family, tuning=tuning)
    probs, texts = answers(bundle)
    again_probs, again_texts = answers(load_bundle(folder))
    assert np.array_equal(probs, again_probs)
    assert texts == again_texts
    assert np.ptp(probs[:, 1]) > 1e-3  # a lost head would give every text the same


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_an_adapter_is_written_without_embeddings(tmp_path, family):
    _, folder = saved(tmp_path, family=family)
    names = list(load_file(folder / "adapter_model.safetensors"))
    assert names
    assert [name for name in names if "lora_" not in name or "embed" in name or "wte" in name] == []


def test_a_merged_model_is_whole_and_equal_within_float32(tmp_path):
    bundle, folder = saved(tmp_path)
    probs, _ = answers(bundle)
    save_bundle(merged(load_bundle(folder)), tmp_path / "whole")
    shutil.rmtree(tmp_path / "base")
    assert np.abs(answers(load_bundle(tmp_path / "whole"))[0] - probs).max() < 1e-5


def test_the_export_loads_as_a_stock_model_without_clsgen(tmp_path):
    saved(tmp_path, tuning="full")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "x"}], add_generation_prompt=True, return_dict=True
    )
    ids = torch.tensor([prompt["input_ids"]])
    assert model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4).shape[1] > ids.shape[1]
    assert model.config.pad_token_id != model.config.eos_token_id


@pytest.mark.slow
def test_a_moved_folder_loads_with_the_network_blocked(tmp_path):
    bundle, folder = saved(tmp_path, tuning="full")
    probs, _ = answers(bundle)
    shutil.rmtree(tmp_path / "base")
    moved = tmp_path / "elsewhere" / "model"
    shutil.move(folder, moved)
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "from clsgen import Classifier\n"
        "import json\n"
        "texts = json.loads(sys.argv[2])\n"
        "print(json.dumps(Classifier.from_pretrained(sys.argv[1]).predict_proba(texts).tolist()))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(moved), json.dumps(TEXTS)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    # another process: the same to the last bit on one thread each, else within float32
    assert np.abs(np.array(json.loads(done.stdout)) - probs).max() < 1e-6


@pytest.mark.parametrize("starts_at", ["document_end", "decision"])
def test_an_activated_adapter_is_reloaded_with_its_start_and_never_merged(tmp_path, starts_at):
    built = tiny.dual(tiny.save("llama", tmp_path / "base"), tuning="activated", starts_at=starts_at)
    bundle = tiny.bundle_of(built)
    save_bundle(bundle, tmp_path / "m")
    loaded = load_bundle(tmp_path / "m")
    assert (loaded.model.tuning, loaded.model.starts_at) == ("activated", starts_at)
    (probs, texts), (again_probs, again_texts) = answers(bundle), answers(loaded)
    assert np.array_equal(probs, again_probs)
    assert texts == again_texts
    with pytest.raises(ConfigError, match="does not act on every token"):
        merged(bundle)


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_only_safetensors_json_and_text_without_paths(tmp_path, tuning):
    _, folder = saved(tmp_path, tuning=tuning)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert path.suffix in {".safetensors", ".json", ".jinja", ".md", ".txt"}, path.name
        if path.suffix != ".safetensors":
            text = path.read_text(encoding="utf-8")
            assert str(tmp_path) not in text, path.name
            assert not re.search(r'"/[a-z]+/', text), path.name


def test_an_adapter_finds_its_base_beside_it_and_elsewhere(tmp_path):
    bundle, folder = saved(tmp_path)
    probs, _ = answers(bundle)
    shutil.move(tmp_path / "base", tmp_path / "there")
    with pytest.raises(ArtifactError, match=r"the base model 'base' must be given; it is not at \.\./base"):
        load_bundle(folder)
    assert np.array_equal(answers(load_bundle(folder, base=str(tmp_path / "there")))[0], probs)


def test_another_base_is_refused_by_its_hash(tmp_path):
    _, folder = saved(tmp_path)
    torch.manual_seed(99)
    other = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    with torch.no_grad():
        next(other.parameters()).add_(0.01)
    other.save_pretrained(tmp_path / "base")
    with pytest.raises(ArtifactError, match=r"base weights must hash to .* This adapter was trained on others"):
        load_bundle(folder)


def rewrite(file: Path, change) -> None:
    """Alter tensors and mend the manifest, as a faulty tool would."""
    state = load_file(file)
    change(state)
    save_file(state, file, metadata={"format": "pt"})
    write_manifest(file.parent)


@pytest.mark.parametrize("name", ["head.safetensors", "adapter_model.safetensors"])
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda state: state.pop(next(iter(state))), "missing"),
        (lambda state: state.update(extra=torch.zeros(1)), "unknown"),
        (lambda state: state.update({next(iter(state)): torch.zeros(1, 1)}), "misshapen"),
        (lambda state: state.update({k: v * float("nan") for k, v in state.items()}), "not finite"),
    ],
)
def test_a_missing_or_misshapen_tensor_is_never_loaded(tmp_path, name, change, kind):
    _, folder = saved(tmp_path)
    rewrite(folder / name, change)
    with pytest.raises(ArtifactError, match=rf"{re.escape(name)}: tensors must be complete; {kind}"):
        load_bundle(folder)


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_file_that_is_altered_cut_short_or_gone_is_named(tmp_path, tuning):
    """Every file of the directory, weights, settings, tokenizer and calibrator alike."""
    _, folder = saved(tmp_path, tuning=tuning)
    names = {path.name for path in folder.iterdir()} - {"manifest.json"}
    weights = {
        "lora": {"adapter_model.safetensors", "adapter_config.json"},
        "full": {"model.safetensors", "config.json"},
    }
    assert weights[tuning] | {"head.safetensors", "calibrator.json", "tokenizer.json", "clsgen.json"} <= names
    for name in sorted(names):
        data = (folder / name).read_bytes()
        middle = len(data) // 2
        for broken in (data[:middle], data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]):
            (folder / name).write_bytes(broken)
            with pytest.raises(ArtifactError, match=rf"altered: {re.escape(name)}"):
                load_bundle(folder)
        (folder / name).unlink()
        with pytest.raises(ArtifactError, match=re.escape(name)):
            load_bundle(folder)
        (folder / name).write_bytes(data)
    load_bundle(folder)


def test_truncated_tensors_are_refused_by_name(tmp_path):
    _, folder = saved(tmp_path)
    data = (folder / "head.safetensors").read_bytes()
    (folder / "head.safetensors").write_bytes(data[:-8])
    write_manifest(folder)
    with pytest.raises(ArtifactError, match=r"head\.safetensors of .* must be whole safetensors"):
        load_bundle(folder)


def test_a_changed_template_is_found_by_its_golden_prompt(tmp_path):
    _, folder = saved(tmp_path)
    record = json.loads((folder / "template.json").read_text())
    (folder / "template.json").write_text(json.dumps(record | {"after": record["after"] + " "}))
    write_manifest(folder)
    with pytest.raises(TemplateError, match="golden prompt must render as when the model was saved"):
        load_bundle(folder)


def test_no_model_directory(tmp_path):
    with pytest.raises(ArtifactError, match="must be a clsgen model directory"):
        load_bundle(tmp_path)


def test_another_format_is_refused(tmp_path):
    _, folder = saved(tmp_path)
    record = json.loads((folder / "clsgen.json").read_text())
    (folder / "clsgen.json").write_text(json.dumps(record | {"format": 99}))
    write_manifest(folder)
    with pytest.raises(ArtifactError, match="format must be 1; got 99"):
        load_bundle(folder)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    bundle, folder = saved(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with torch.no_grad():
        bundle.model.head.weight[0, 0] = float("nan")
    with pytest.raises(ArtifactError, match=r"head\.safetensors: weights must be finite"):
        save_bundle(bundle, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    load_bundle(folder)


@pytest.mark.parametrize("error", [OSError("no space left on device"), RuntimeError("write failed")])
def test_a_model_that_cannot_be_written_is_an_error_and_leaves_the_old_one(tmp_path, monkeypatch, error):
    bundle, folder = saved(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())

    def full(*arguments, **options):
        raise error

    monkeypatch.setattr(checkpoint_module, "save_file", full)
    with pytest.raises(ArtifactError, match="m: the model must be written whole; .*What stood there before is untouch"):
        save_bundle(bundle, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    load_bundle(folder)


def test_a_record_must_be_a_json_object(tmp_path):
    file = tmp_path / "clsgen.json"
    with pytest.raises(ArtifactError, match=r"clsgen\.json of .* must be readable JSON; .*Restore it"):
        read_record(file)
    file.write_text("{half")
    with pytest.raises(ArtifactError, match=r"clsgen\.json of .* must be readable JSON; .*Restore it"):
        read_record(file)
    file.write_text("[1]")
    with pytest.raises(ArtifactError, match=r"clsgen\.json of .* must hold a JSON object\. Restore it"):
        read_record(file)


def test_a_whole_model_without_its_weights(tmp_path):
    _, folder = saved(tmp_path, tuning="full")
    (folder / "model.safetensors").unlink()
    write_manifest(folder)
    with pytest.raises(ArtifactError, match=r"model\.safetensors of .* must be there; it is missing\. Restore it"):
        load_bundle(folder)


def test_a_new_calibration_leaves_the_weights_where_they_are(tmp_path):
    bundle, folder = saved(tmp_path)
    weights = (folder / "adapter_model.safetensors").stat().st_ino
    changed = replace(bundle, rule=DecisionRule(tiny.SPEC.labels, 1, 0.9, "half"))
    save_calibration(changed, folder)
    assert (folder / "adapter_model.safetensors").stat().st_ino == weights
    assert load_bundle(folder).rule.threshold == 0.9
    assert "0.9000" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_a_full_disk_leaves_the_previous_model_whole(tmp_path):
    """A real full file system where one can be mounted; else a size limit on the process's files."""
    bundle, folder = saved(tmp_path, tuning="full")
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from clsgen.errors import ArtifactError
from clsgen.model.checkpoint import load_bundle, save_bundle
from pathlib import Path
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path({str(folder)!r})
bundle = load_bundle(folder)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    save_bundle(bundle, folder)
except ArtifactError as error:
    print(error)
else:
    sys.exit("saved")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "must be written whole" in done.stdout
    assert "What stood there before is untouched" in done.stdout
    assert np.array_equal(answers(load_bundle(folder))[0], answers(bundle)[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "m"]


def test_the_card_says_what_the_reason_is_not(tmp_path):
    _, folder = saved(tmp_path)
    card = (folder / "README.md").read_text()
    assert "The reason is written after the probability and does not cause it." in card
    assert "0.3700" in card


def test_a_restricted_model_is_marked(tmp_path):
    bundle, folder = saved(tmp_path)
    save_bundle(replace(bundle, spec=replace(tiny.SPEC, is_restricted=True)), folder)
    assert "Restricted" in (folder / "README.md").read_text()
    assert load_bundle(folder).spec.is_restricted
