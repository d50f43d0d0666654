"""`clsgen export` of a run, form by form."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

import tiny
from clsgen.artifacts import check_manifest
from clsgen.errors import ArtifactError, ConfigError
from clsgen.inference.predictor import Classifier
from clsgen.model.checkpoint import load_bundle
from clsgen.pipeline.export import _compared, export_run
from conftest import Ran
from export.conftest import write_run

ROWS = tiny.examples(24)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a LoRA adapter, its base within it."""
    folder = tmp_path_factory.mktemp("adapted")
    return write_run(folder / "run", tiny.bundle_of(tiny.dual(tiny.save("mistral", folder / "run" / "base"))))


@pytest.mark.parametrize("form", ["folded", "causal-lm", "peft"])
def test_a_form_is_written_whole_and_said_to_be_the_same(
    form: str, adapted: Path, tmp_path: Path, command: Callable[..., Ran]
) -> None:
    ran = command("export", adapted, "--format", form, "-o", tmp_path / form)
    assert ran.code == 0, ran.err
    assert "24 calibration rows differ by at most" in " ".join(ran.out.split())
    check_manifest(tmp_path / form)
    card = (tmp_path / form / "README.md").read_text()
    assert "largest difference" in card
    assert "The reason is written after the probability and does not cause it." in card
    for file in (tmp_path / form).glob("*.json"):
        assert str(adapted.parent) not in file.read_text()


def test_seqcls_wants_a_temperature_and_fits_one(adapted: Path, tmp_path: Path, command: Callable[..., Ran]) -> None:
    refused = command("export", adapted, "--format", "seqcls", "-o", tmp_path / "out")
    assert refused.code != 0
    assert "--refit" in refused.err
    assert not (tmp_path / "out").exists()
    ran = command("export", adapted, "--format", "seqcls", "--refit", "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    classify = pipeline("text-classification", model=str(tmp_path / "out"), top_k=None)
    found = [{each["label"]: each["score"] for each in row} for row in classify([row.document for row in ROWS])]
    logits = Classifier.from_pretrained(adapted).class_logits(ROWS)
    odds = [np.log(row["sun"] / row["rain"]) for row in found]
    slope = odds / (logits[:, 1] - logits[:, 0])
    assert np.ptp(slope) < 1e-3  # one temperature, no bias
    card = (tmp_path / "out" / "README.md").read_text()
    assert "not that decision" in card
    own = Classifier.from_pretrained(adapted).predict_proba(ROWS)
    largest = max(abs(row["sun"] - own[at, 1]) for at, row in enumerate(found))
    refit = json.loads((tmp_path / "out" / "export.json").read_text())["parity"]["refit"]
    assert refit["largest"] == pytest.approx(largest, abs=0.01)  # the softmax of the stock head has no bounds
    assert largest > 1e-3
    assert "These are not the run's probabilities" in card
    assert "run's own probabilities" in " ".join(ran.out.split())


def test_the_causal_model_loads_by_itself_and_stops(learned: Path, tmp_path: Path) -> None:
    export_run(learned, "causal-lm", tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    classifier = Classifier.from_pretrained(learned)
    (wanted,) = classifier.predict([ROWS[0]], explain="all")
    prompt = classifier.bundle.renderer.prompt(ROWS[0].document).ids
    ids = torch.tensor([[*prompt, *classifier.bundle.renderer.forced("free")]])
    written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=90, do_sample=False)
    text = tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
    assert text.strip() == f"{wanted.explanation} Answer: {wanted.stated_label}"


def test_peft_loads_the_adapter_and_the_head_gives_the_logits(adapted: Path, tmp_path: Path) -> None:
    export_run(adapted, "peft", tmp_path / "out")
    wanted = Classifier.from_pretrained(adapted).class_logits(ROWS[:4])
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(adapted / "base")  # the card's reader puts in where the base is
    (tmp_path / "out" / "adapter_config.json").write_text(json.dumps(config))
    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    weight_CD = load_file(tmp_path / "out" / "head.safetensors")["weight"]
    renderer = load_bundle(adapted / "model").renderer
    with torch.inference_mode():
        for row, logits in zip(ROWS, wanted, strict=False):
            ids = torch.tensor([renderer.prompt(row.document).ids])
            hidden_D = model.base_model.model.model(input_ids=ids).last_hidden_state[0, -1]
            assert (weight_CD @ hidden_D).numpy() == pytest.approx(logits, abs=1e-4)


def test_peft_without_an_adapter_is_refused(learned: Path, tmp_path: Path, command: Callable[..., Ran]) -> None:
    ran = command("export", learned, "--format", "peft", "-o", tmp_path / "out")
    assert ran.code != 0
    assert "tuned by full" in " ".join(ran.err.split())
    assert not (tmp_path / "out").exists()


def test_a_probability_that_moves_is_refused(adapted: Path) -> None:
    bundle = load_bundle(adapted / "model")
    before = np.array([[0.3, 0.7], [0.51, 0.49]])
    near, far = np.array([[5e-5, -5e-5], [0, 0]]), np.array([[0, 0], [-0.02, 0.02]])
    parity = _compared(bundle, before, np.add(before, near), is_decided=True)
    assert (parity.num_rows, parity.largest, parity.mean) == (2, pytest.approx(5e-5), pytest.approx(2.5e-5))
    assert parity.num_decided_otherwise == 0
    with pytest.raises(ArtifactError, match=r"moved by 0\.02"):
        _compared(bundle, before, np.add(before, far), is_decided=True)
    found = _compared(replace(bundle, dtype="bfloat16"), before, np.add(before, far / 2.5), is_decided=True)
    assert (found.tolerance, found.num_decided_otherwise) == (0.01, 0)
    near_half = np.array([[0.3, 0.7], [0.501, 0.499]])
    found = _compared(replace(bundle, dtype="bfloat16"), near_half, np.add(near_half, far / 4), is_decided=True)
    assert found.num_decided_otherwise == 1


def test_other_files_are_not_written_over(adapted: Path, tmp_path: Path, command: Callable[..., Ran]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for output, words in ((tmp_path, "holds other files"), (adapted / "model", "must not be the run itself")):
        ran = command("export", adapted, "-o", output)
        assert ran.code != 0
        assert words in " ".join(ran.err.split())
    assert (tmp_path / "notes.txt").read_text() == "mine"
    Classifier.from_pretrained(adapted)


def test_an_earlier_export_is_replaced(learned: Path, tmp_path: Path) -> None:
    shutil.copytree(learned, tmp_path / "run")
    export_run(tmp_path / "run", "folded", tmp_path / "out")
    export_run(tmp_path / "run", "causal-lm", tmp_path / "out")
    assert not (tmp_path / "out" / "folded.json").exists()
    check_manifest(tmp_path / "out")


def test_nothing_but_an_earlier_export_is_ever_replaced(learned: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_run(learned, "causal-lm", out)
    export_run(learned, "causal-lm", out)  # as it was written: replaced
    (out / "thesis.txt").write_text("years of work")
    copied = shutil.copytree(learned, tmp_path / "another run")
    foreign = tmp_path / "project"
    foreign.mkdir()
    (foreign / "manifest.json").write_text("{}")
    file = tmp_path / "file"
    file.write_text("mine")
    for taken in (out, copied, copied / "model", foreign, file):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ConfigError):
            export_run(learned, "causal-lm", taken)
        assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(ArtifactError, match="creatable"):
        export_run(learned, "causal-lm", file / "below")
