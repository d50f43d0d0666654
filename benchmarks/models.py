"""The random models and the documents of the benchmarks, made once."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Literal

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from clsgen.config.model import ModelSettings
from clsgen.config.run import RunConfig
from clsgen.model.calibrator import Calibrator
from clsgen.model.checkpoint import Bundle, save_bundle
from clsgen.pipeline.build import build
from clsgen.pipeline.calibrate import identity_calibrator, identity_rule
from clsgen.pipeline.train import train_run
from clsgen.tasks.synthetic import generate_notes
from clsgen.types import Example, TaskSpec

FOLDER = Path("runs/benchmarks")
SPEC = TaskSpec("bench", ("survived", "died"), "Decide whether the patient died or survived.", "died")


def notes(num_notes: int) -> list[Example]:
    """Long generated notes."""
    return notes_of("lcd", num_notes)


def notes_of(length: Literal["short", "lcd"], num_notes: int) -> list[Example]:
    """Generated notes, a fifth of them followed by death."""
    return generate_notes(num_notes, length=length, prevalence=0.2, seed=0)


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


def read_documents(file: str) -> list[str]:
    """The texts of `documents_file`."""
    found: list[str] = json.loads(Path(file).read_text(encoding="utf-8"))
    return found


def wanted_lengths(num_documents: int) -> list[int]:
    """Tokens that each document's explanation has: 64 to 200."""
    draw = random.Random(1)
    return [draw.randint(64, 200) for _ in range(num_documents)]


def lengths_file(num_rows: int) -> Path:
    """A JSON list of log-normal prompt lengths in tokens, median 400; made where it is not there."""
    file = FOLDER / f"lengths-{num_rows}.json"
    if not file.exists():
        draw = random.Random(2)
        lengths = [min(max(round(400 * draw.lognormvariate(0, 0.8)), 32), 2048) for _ in range(num_rows)]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(lengths), encoding="utf-8")
    return file


def quoting_run() -> Path:
    """The embedded base trained on notes whose explanations are sentences of them; made once."""
    run, table = FOLDER / "quoting", FOLDER / "quoting.jsonl"
    if not (run / "model" / "clsgen.json").exists():
        rows = [{"text": row.document, "label": row.label} for row in notes_of("short", 1200)]
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        settings = {
            "output": str(run),
            "data": {"train": str(table), "explanations": "extractive", "positive": "died"},
            "model": {
                "backbone": "embedded",
                "lora": {"dropout": 0.0},
                "max_length_tokens": 640,
                "max_explanation_tokens": 160,
            },
            "train": {"epochs": 3, "learning_rate": 1e-3, "monitor": "loss", "patience": None},
        }
        train_run(RunConfig.model_validate(settings))
    return run


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
