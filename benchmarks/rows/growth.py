"""How time grows with documents and with their length, and whether memory does; clsgen alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from clsgen.data.template import Prompt
from clsgen.inference.engine import Engine
from clsgen.inference.predictor import Classifier
from models import documents_file, read_documents
from rows.inference import ids_of
from worker import memory

LENGTHS = (256, 512, 1024, 2048, 4096)
COUNTS = (50, 100, 200, 400)


def length_exponent(model: str) -> Callable[[], Any]:
    """Slope of log seconds against log tokens of one document."""
    engine = Classifier.from_pretrained(model).engine
    return lambda: _length_exponent(engine)


def _length_exponent(engine: Engine) -> dict[str, Any]:
    seconds = [_least(lambda n=n: engine.class_logits([Prompt(ids_of(n), 0, 0)]), 5) for n in LENGTHS]
    return {"tokens": list(LENGTHS), "seconds": seconds, "figure": slope(LENGTHS, seconds)}


def documents_exponent(model: str) -> Callable[[], Any]:
    """The same against the number of documents."""
    classifier = Classifier.from_pretrained(model)
    return lambda: _documents_exponent(classifier)


def _documents_exponent(classifier: Classifier) -> dict[str, Any]:
    texts = read_documents(str(documents_file(max(COUNTS))))
    seconds = [_least(lambda n=n: classifier.predict_proba(texts[:n]), 2) for n in COUNTS]
    return {"documents": list(COUNTS), "seconds": seconds, "figure": slope(COUNTS, seconds)}


def memory_growth(model: str, num_documents: int = 10_000) -> Callable[[], Any]:
    """Resident bytes after a tenth of the documents and after all of them, in pieces of 500 as a server sees them."""
    classifier = Classifier.from_pretrained(model)
    return lambda: _memory_growth(classifier, num_documents)


def _memory_growth(classifier: Classifier, num_documents: int) -> dict[str, Any]:
    texts = [text[:400] for text in read_documents(str(documents_file(400)))]
    found = []
    for start in range(0, num_documents, 500):
        classifier.predict_proba([texts[(start + at) % len(texts)] for at in range(500)])
        if start + 500 in (num_documents // 10, num_documents):
            found.append(memory("VmRSS"))
    return {"documents": [num_documents // 10, num_documents], "bytes": found, "figure": found[1] / found[0]}


def slope(sizes: Any, seconds: Any) -> float:
    """Least squares in logarithms."""
    x, y = [math.log(each) for each in sizes], [math.log(each) for each in seconds]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    products = [(a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)]
    return sum(products) / sum((a - mean_x) ** 2 for a in x)


def _least(work: Any, times: int) -> float:
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)
