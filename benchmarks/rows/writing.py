"""Probabilities and explanations of many documents, by clsgen: one model for both, or one for each as well batched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clsgen.inference.engine import Engine, Part, Pick
from clsgen.inference.fast_engine import FastEngine
from clsgen.inference.predictor import Classifier
from clsgen.pipeline.folder import RunFolder
from models import quoting_run, read_documents, wanted_lengths

BATCH_TOKENS = 4096


class Ending(Pick):
    """Chooses the likeliest ids, and ends each row where its length is reached."""

    def __init__(self, lengths: Sequence[int], end_id: int) -> None:
        self._left, self._end_id = list(lengths), end_id

    def __call__(self, logits_NV: Tensor, rows: Sequence[int]) -> list[int]:
        """Ids of the rows that write."""
        found: list[int] = logits_NV.argmax(dim=-1).tolist()
        for at, row in enumerate(rows):
            self._left[row] -= 1
            if self._left[row] == 0:
                found[at] = self._end_id
        return found


class Written:
    """Documents that are read, and explained where their row is chosen."""

    def __init__(self, model: str, documents: str) -> None:
        self.classifier = Classifier.from_pretrained(model, batch_tokens=BATCH_TOKENS)
        bundle = self.classifier.bundle
        torch.nn.init.normal_(bundle.model.head.weight, generator=torch.Generator().manual_seed(0))
        end_id = bundle.renderer.template.end_id
        self.engine: Engine = FastEngine(bundle.model, pad_id=bundle.pad_id, end_id=end_id, has_lookup=False)
        self.prompts = [bundle.renderer.prompt(text) for text in read_documents(documents)]
        self.lengths = wanted_lengths(len(self.prompts))
        self.forced = bundle.renderer.forced("free")

    def classify(self) -> Tensor:
        """Logits of all, nothing kept."""
        logits = torch.empty(len(self.prompts), 2)
        for rows in self.engine.plan(self.prompts, batch_tokens=BATCH_TOKENS):
            logits[rows] = self.engine.class_logits([self.prompts[row] for row in rows])
        return logits

    def explain(self, chosen: set[int]) -> list[int]:
        """Read all for both heads, and write for the chosen rows; tokens written by row."""
        written = [0] * len(self.prompts)
        pick = Ending(self.lengths, self.engine.end_id)
        for row, text in self.engine.write(self._read(chosen), pick=pick):
            written[row] = len(text.ids) + 1
        return written

    def _read(self, chosen: set[int]) -> Iterator[Part]:
        for rows in self.engine.plan(self.prompts, batch_tokens=BATCH_TOKENS):
            prefilled = self.engine.prefill([self.prompts[row] for row in rows])
            at = [index for index, row in enumerate(rows) if row in chosen]
            if at:
                keys = [rows[index] for index in at]
                yield Part(keys, prefilled.select(at), [self.forced] * len(at), [256] * len(at))


def one_model(model: str, documents: str, share: float) -> Callable[[], Any]:
    """Every document classified, and the share nearest one half explained, with one reading."""
    work = Written(model, documents)
    chosen = nearest(work.classify(), share)

    def run() -> dict[str, Any]:
        return {"written": sum(work.explain(chosen))}

    return run


def two_models(model: str, documents: str) -> Callable[[], Any]:
    """One model classifies, another one explains everything; both batched as clsgen's own. Parts: their seconds."""
    work = Written(model, documents)

    def run() -> dict[str, Any]:
        started = time.perf_counter()
        work.classify()
        read = time.perf_counter()
        written = sum(work.explain(set(range(len(work.prompts)))))
        return {"written": written, "classify": read - started, "explain": time.perf_counter() - read}

    return run


def nearest(logits_NC: Tensor, share: float) -> set[int]:
    """Rows nearest an even probability."""
    margin_N = (logits_NC[:, 1] - logits_NC[:, 0]).abs().numpy()
    return set(np.argsort(margin_N, kind="stable")[: round(share * len(margin_N))].tolist())


def quoting(num_rows: int, *, has_lookup: bool) -> Callable[[], Any]:
    """Explanations of a model that was trained to quote, one document at a time."""
    run = quoting_run()
    classifier = Classifier.from_pretrained(run)
    bundle = classifier.bundle
    end_id = bundle.renderer.template.end_id
    classifier._engine = FastEngine(bundle.model, pad_id=bundle.pad_id, end_id=end_id, has_lookup=has_lookup)
    rows = RunFolder(run).rows("test")[:num_rows]

    def explained() -> list[str]:
        return [str(classifier.predict([row], explain="all")[0].explanation) for row in rows]

    return explained


def decode(model: str, num_new: int) -> Callable[[], Any]:
    """Tokens after a short prompt, one row."""
    work = Classifier.from_pretrained(model).bundle
    engine = FastEngine(work.model, pad_id=work.pad_id, end_id=-1, has_lookup=False)
    prompt = work.renderer.prompt("A short note.")

    def run() -> None:
        engine.generate(engine.prefill([prompt]), [[work.pad_id + 1]], max_new_tokens=num_new)

    return run


def read_weights(model: str, num_new: int) -> Callable[[], Any]:
    """Every weight of the body and the vocabulary projection read from memory once a token, and nothing computed."""
    work = Classifier.from_pretrained(model).bundle.model.language_model
    embedding = work.get_input_embeddings().weight
    weights = [each for each in work.parameters() if each is not embedding] + [work.get_output_embeddings().weight]
    numbers = torch.cat([each.detach().flatten() for each in weights])

    def run() -> None:
        for _ in range(num_new):
            numbers.sum()

    return run
