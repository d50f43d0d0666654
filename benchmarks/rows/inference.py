"""Reading and writing, by clsgen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clsgen.data.template import Prompt
from clsgen.inference.predictor import Classifier
from clsgen.types import Example
from models import notes_of


def ids_of(num_tokens: int) -> list[int]:
    """Ids that both sides read."""
    return [(7 * index) % 2900 + 50 for index in range(num_tokens)]


def classify_ids(model: str, num_tokens: int, engine: str = "auto") -> Callable[[], Any]:
    """Class logits of one prompt."""
    classifier = Classifier.from_pretrained(model, engine=engine)
    weight_CD = classifier.bundle.model.head.weight
    torch.nn.init.normal_(weight_CD, generator=torch.Generator().manual_seed(0))
    prompt = Prompt(ids_of(num_tokens), 0, 0)
    return lambda: classifier._engine.class_logits([prompt])[0].tolist()


def classify_documents(model: str, documents: str) -> Callable[[], Any]:
    """Probabilities of many texts."""
    classifier = Classifier.from_pretrained(model)
    texts = json.loads(Path(documents).read_text(encoding="utf-8"))
    return lambda: float(classifier.predict_proba(texts).sum()) and None


def explain_ids(model: str, num_tokens: int, num_new: int) -> Callable[[], Any]:
    """Class logits of one prompt and the text after it."""
    classifier = Classifier.from_pretrained(model)
    engine = classifier._engine
    engine.end_id = -1
    ids = ids_of(num_tokens)

    def run() -> list[str]:
        prefilled = engine.prefill([Prompt(ids[:-1], 0, 0)])
        (written,) = engine.generate(prefilled, [ids[-1:]], max_new_tokens=num_new)
        return [" ".join(map(str, written.ids))]

    return run


def questions(model: str, num_tokens: int, num_questions: int, *, is_together: bool) -> Callable[[], Any]:
    """Probabilities of questions about one document."""
    classifier = Classifier.from_pretrained(model)
    text = json.loads(next(Path(model).parent.glob("documents-*.json")).read_text(encoding="utf-8"))
    words = " ".join(text).split(" ")
    asked = [f"Was finding number {number} seen on day {number}?" for number in range(num_questions)]
    count = num_tokens
    while len(classifier.bundle.renderer.prompt(" ".join(words[:count])).ids) > num_tokens:
        count -= 10
    document = " ".join(words[:count])
    if is_together:
        return lambda: [each.probs["died"] for each in classifier.predict_questions(document, asked)]
    return lambda: [classifier.predict([Example("0", document, question)])[0].probs["died"] for question in asked]


def predict(model: str, num_texts: int, explain: str) -> Callable[[], Any]:
    """Short notes, as `Classifier.predict` takes them."""
    classifier = Classifier.from_pretrained(model)
    texts = [note.document for note in notes_of("short", 1000)][:num_texts]
    return lambda: len(classifier.predict(texts, explain=explain)) and None  # type: ignore[arg-type]
