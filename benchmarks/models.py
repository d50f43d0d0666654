"""The random models and the documents of the benchmarks, made once."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from clsgen.config.model import ModelSettings
from clsgen.model.calibrator import Calibrator
from clsgen.model.checkpoint import Bundle, save_bundle
from clsgen.pipeline.build import build
from clsgen.pipeline.calibrate import identity_calibrator, identity_rule
from clsgen.tasks.synthetic import generate_notes
from clsgen.types import Example, TaskSpec

FOLDER = Path("runs/benchmarks")
SPEC = TaskSpec("bench", ("survived", "died"), "Decide whether the patient died or survived.", "died")


def notes(num_notes: int) -> list[Example]:
    """Long generated notes."""
    return generate_notes(num_notes, length="lcd", prevalence=0.2, seed=0)


def model_folder(vocabulary: int, *, width: int = 384, num_layers: int = 8) -> Path:
    """A model directory with random weights; made where it is not there."""
    folder = FOLDER / f"{vocabulary}-{width}x{num_layers}"
    if not folder.exists():
        settings = ModelSettings.model_validate(
            {
                "init": "scratch",
                "tuning": "full",
                "max_length_tokens": 4608,
                "max_explanation_tokens": 256,
                "scratch": {
                    "vocabulary": vocabulary,
                    "width": width,
                    "num_layers": num_layers,
                    "num_heads": width // 64,
                },
            }
        )
        built = build(settings, SPEC, notes(300), seed=0, folder=folder)
        calibrator: Calibrator = identity_calibrator(SPEC)
        bundle = Bundle(
            model=built.model,
            renderer=built.renderer,
            tokenizer=built.tokenizer,
            spec=SPEC,
            calibrator=calibrator,
            rule=identity_rule(SPEC),
            base=built.base,
            dtype="float32",
            pad_id=built.pad_id,
            has_explanations=True,
        )
        save_bundle(bundle, folder)
    return folder


def base_folder(vocabulary: int) -> Path:
    """A stock causal model of the same shape with a large vocabulary, for training, with the small one's tokenizer."""
    folder = FOLDER / f"base-{vocabulary}"
    if not folder.exists():
        small = model_folder(3072)
        config = LlamaConfig.from_pretrained(small, vocab_size=vocabulary)
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(small).save_pretrained(folder)
    return folder


def documents_file(num_documents: int, *, median_words: int = 420) -> Path:
    """A JSON list of documents of log-normal length (median near 600 tokens); made where it is not there."""
    file = FOLDER / f"documents-{num_documents}-{median_words}.json"
    if not file.exists():
        draw = random.Random(0)
        words = " ".join(note.document for note in notes(400)).split(" ")
        texts = []
        for _ in range(num_documents):
            length = min(max(round(median_words * draw.lognormvariate(0, 0.7)), 20), 2600)
            start = draw.randrange(len(words) - length)
            texts.append(" ".join(words[start : start + length]))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(texts), encoding="utf-8")
    return file
