"""clsgen bench: its counts are those of the texts, its rates are counts over seconds."""

from __future__ import annotations

import json

import pytest
import torch

import tiny
from clsgen.inference.predictor import Classifier
from clsgen.model.checkpoint import save_bundle
from clsgen.pipeline import bench as module
from clsgen.pipeline.bench import bench

TEXTS = [row.document for row in tiny.examples(6)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("bench")
    built = tiny.dual(tiny.save("llama", base / "llama"))
    save_bundle(tiny.bundle_of(built), base / "m")
    return base / "m"


def test_counts_and_rates_belong_together(folder):
    classifier = Classifier.from_pretrained(folder)
    result = bench(classifier, TEXTS, num_runs=2)
    prompts = [classifier.bundle.renderer.prompt(text) for text in TEXTS]
    assert result["num_prompt_tokens"] == sum(len(prompt.ids) for prompt in prompts)
    read, written = result["classify"], result["explain"]
    assert read["tokens_per_second"] * read["seconds"] == pytest.approx(result["num_prompt_tokens"])
    assert written["texts_per_second"] * written["seconds"] == pytest.approx(6)
    before = classifier.num_written
    classifier.predict(TEXTS, explain="all")
    assert written["tokens"] == classifier.num_written - before > 6
    assert result["write_alone"]["bandwidth_share"] > 0
    assert result["engine"] == "fast"


def test_the_command_shows_the_figures_and_writes_them(command, folder, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS), encoding="utf-8")
    ran = command("bench", folder, "--documents", texts, "--num", "3", "--runs", "1", "-o", tmp_path / "b.json")
    assert ran.code == 0, ran.err
    for words in ("3 texts of", "texts/s", "peak memory", "reading takes", "writing one text takes"):
        assert words in ran.out
    assert json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))["num_texts"] == 3


def test_documents_that_are_none_are_one_clear_error(command, folder, tmp_path):
    cases = (
        (b"\n \n", "holds none"),
        (b'["a", 3]', "entry 1"),
        (b'["a", " "]', "entry 1"),
        (b'["a"', "a JSON list of texts"),
        (b"\xff\xfea", "in UTF-8"),
        (None, "No such file"),
    )
    for number, (content, words) in enumerate(cases):
        texts = tmp_path / f"{number}.json"
        if content is not None:
            texts.write_bytes(content)
        ran = command("bench", folder, "--documents", texts)
        assert ran.code == 2, content
        assert words in " ".join(ran.err.split())
        assert "Traceback" not in ran.err
    assert "directory" in command("bench", folder, "--documents", tmp_path).err


def test_the_bound_is_timed_by_the_products_that_the_engine_does(monkeypatch):
    asked = []
    real = module.linear
    monkeypatch.setattr(module, "linear", lambda layer, rows: asked.append(rows.dtype) or real(layer, rows))
    found = module.probe(torch.device("cpu"), torch.float32)
    assert asked == [torch.float32] * 5
    assert found.flops > 1e9
    assert found.bandwidth > 1e8
