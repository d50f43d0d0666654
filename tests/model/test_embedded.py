"""The base model that comes with the package: whole, licensed, offline, and as good as its card says."""

import hashlib
import json
import math
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny
from clsgen.data.tokenizer import NUM_RESERVED, ROLE_TOKENS
from clsgen.model import backbone
from clsgen.model.card import model_card
from clsgen.model.embedded import EMBEDDED_FOLDER, located
from clsgen.types import EMBEDDED


@pytest.fixture(scope="module")
def card() -> dict:
    head, found, text = (EMBEDDED_FOLDER / "README.md").read_text(encoding="utf-8")[4:].partition("\n---\n")
    assert found
    return yaml.safe_load(head) | {"text": text}


def test_the_weights_are_those_of_the_card(card):
    weights = EMBEDDED_FOLDER / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == card["weights_sha256"]
    assert backbone.weights_hash(EMBEDDED_FOLDER) == card["weights_sha256"]


def test_the_folder_is_small_and_holds_nothing_executable():
    files = [file for file in EMBEDDED_FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 40_000_000
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".jinja", ".md", ""}


def test_stock_classes_load_it_and_write_its_bits_per_byte(card):
    """The card's figure is computed here by the stock model's own loss, in float32."""
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_FOLDER)
    model, info = AutoModelForCausalLM.from_pretrained(EMBEDDED_FOLDER, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert sum(parameter.numel() for parameter in model.parameters()) == card["parameters"]
    ids = torch.tensor(
        [[tokenizer.eos_token_id, *tokenizer(card["fixed_text"], add_special_tokens=False)["input_ids"]]]
    )
    with torch.no_grad():
        nats = float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
    assert nats / math.log(2) / len(card["fixed_text"].encode()) == pytest.approx(
        card["bits_per_byte_fixed_text"], abs=2e-3
    )
    assert card["bits_per_byte_lm_validation"] <= 1.40


def test_shape_is_what_later_work_counts_on():
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_FOLDER)
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED_FOLDER)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.dtype == torch.bfloat16
    assert model.config.hidden_size % 64 == 0
    assert model.config.intermediate_size % 64 == 0
    assert model.config.max_position_embeddings == 4096
    assert 8192 <= model.config.vocab_size == len(tokenizer) <= 16384
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    assert set(ROLE_TOKENS) <= added
    assert len([token for token in added if token.startswith("<|reserved_")]) == NUM_RESERVED == 32
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert (model.config.pad_token_id, model.config.eos_token_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)
    assert (model.generation_config.pad_token_id, model.generation_config.eos_token_id) == (
        tokenizer.pad_token_id,
        tokenizer.eos_token_id,
    )
    assert "strftime" not in tokenizer.chat_template
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    assert rendered == "<|user|>\na<|end|>\n"


def test_the_name_leads_to_the_package_even_beside_a_directory_of_that_name(tmp_path, monkeypatch):
    (tmp_path / EMBEDDED).mkdir()
    monkeypatch.chdir(tmp_path)
    assert Path(located(EMBEDDED)) == EMBEDDED_FOLDER
    assert located("./embedded") == "./embedded"
    assert backbone.preflight(EMBEDDED) == EMBEDDED_FOLDER


def test_it_loads_and_writes_with_no_network(no_network):
    tokenizer = backbone.load_tokenizer(EMBEDDED)
    model = backbone.load_backbone(EMBEDDED)
    text = "<|user|>\nThe results of the trial show that"
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    assert written.shape[1] > ids.shape[1]


def test_the_card_names_sources_licence_and_limits(card):
    assert card["license"] == "cc-by-sa-4.0"
    for name in ("evidence_inference", "e-SNLI", "ComVE", "CliniFact", "build_base.py", "bits per byte"):
        assert name in card["text"]
    assert "{" not in card["text"].replace("{'", "")
    assert "creativecommons.org/licenses/by-sa/4.0" in (EMBEDDED_FOLDER / "LICENSE").read_text(encoding="utf-8")


def test_models_made_of_it_carry_its_licence(card, tmp_path):
    bundle = tiny.bundle_of(tiny.dual(tiny.save("llama", tmp_path / "base"), tuning="full"))
    parts = (bundle.spec, bundle.calibrator, bundle.rule)
    found = model_card(*parts, base_name=EMBEDDED, tuning="full")
    assert yaml.safe_load(found.split("---")[1])["license"] == card["license"]
    assert "| licence | CC BY-SA 4.0, as its base" in found
    assert "licen" not in model_card(*parts, base_name="org/other", tuning="full")


@pytest.mark.slow
def test_the_wheel_holds_weights_licence_and_card(tmp_path):
    from hatchling.builders.wheel import WheelBuilder

    root = Path(__file__).parents[2]
    wheel = next(WheelBuilder(str(root)).build(directory=str(tmp_path), versions=["standard"]))
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    metadata = archive.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    assert "License-Expression: Apache-2.0 AND CC-BY-SA-4.0\n" in metadata
    folder = f"clsgen/assets/{EMBEDDED}"
    shipped = {f"{folder}/{file.name}" for file in EMBEDDED_FOLDER.iterdir()}
    assert {f"{folder}/{name}" for name in ("model.safetensors", "LICENSE", "README.md", "tokenizer.json")} <= shipped
    assert shipped <= set(names)
    assert not [name for name in names if name.startswith(("scripts", "tests", "runs"))]


def test_card_and_page_say_what_the_logs_say(card):
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "embedded.md").read_text(encoding="utf-8")
    chain = ("pretrain-1", "pretrain-2", "instruct-1", "instruct-2")
    logs = [(docs / "benchmarks" / "base" / f"{stage}.jsonl").read_text(encoding="utf-8") for stage in chain]
    ends = [json.loads(log.splitlines()[-1]) for log in logs]
    for stage, end in zip(chain, ends, strict=True):
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {stage} |")]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[3:5] == [f"{end['tokens'] / 1e6:.1f} million", f"{end['bits_per_byte']:.3f}"]
    assert f"| tokens read | {sum(end['tokens'] for end in ends) / 1e6:.1f} million |" in card["text"]
    assert card["bits_per_byte_lm_validation"] == pytest.approx(ends[-1]["bits_per_byte"], abs=2e-4)
    assert f"{card['bits_per_byte_lm_validation']:.3f} on 424 held-out trial abstracts" in card["text"]
    for nats in ends[-1]["nats_by_position"].values():
        assert f"{nats:.2f} (" in card["text"]
        assert f"{nats:.3f}" in page


def test_page_says_what_the_trials_logs_say():
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "embedded.md").read_text(encoding="utf-8")
    trials = {file.stem: file.read_text(encoding="utf-8") for file in (docs / "benchmarks/base/trials").glob("*.jsonl")}
    assert len(trials) >= 4
    for name, log in trials.items():
        begin, changes, *_, end = [json.loads(line) for line in log.splitlines()]
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
        changed, parameters, bits = [cell.strip() for cell in line.strip("|").split("|")][1:]
        assert parameters == f"{begin['parameters'] / 1e6:.1f} million"
        assert bits == f"{end['bits_per_byte']:.3f}"
        common = ["schedule.num_tokens=1600000", "schedule.decay_share=0.3"]
        told = changes["changes"][len(common) :]
        assert changes["changes"][: len(common)] == common
        assert changed == f"`{' '.join(told)}`" if told else changed.startswith("nothing")


def test_page_says_what_the_curves_logs_say():
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "embedded.md").read_text(encoding="utf-8")
    logs = {file.stem: file.read_text(encoding="utf-8") for file in (docs / "benchmarks/base/curve").glob("*.jsonl")}
    assert len(logs) == 6
    for name, log in logs.items():
        begin, *_, last_rate, end = [json.loads(line) for line in log.splitlines()]
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
        parameters, tokens, rate, bits = [cell.strip() for cell in line.strip("|").split("|")][1:]
        assert parameters == f"{begin['parameters'] / 1e6:.1f} million"
        assert tokens == f"{end['tokens'] / 1e6:.1f} million"
        assert rate.partition(", c")[0] == f"{last_rate['tokens_a_second']:,}"
        assert bits == f"{end['bits_per_byte']:.3f}"
