"""Texts a second by the prompt tokens of a forward: why `predict.batch_tokens` is what it is on a processor.

    python benchmarks/batch_tokens.py    # minutes, on an idle machine; prints, writes nothing

Documents of log-normal length, the embedded base; the sizes take turns, and the medians are shown.
"""

from __future__ import annotations

import statistics
import time

from clsgen.inference.predictor import Classifier
from models import documents_file, quoting_run, read_documents

SIZES = (512, 1024, 2048, 4096, 16384)
NUM_DOCUMENTS, NUM_RUNS = 120, 4


def main() -> None:
    """Time every size."""
    texts = read_documents(str(documents_file(400)))[:NUM_DOCUMENTS]
    run = quoting_run()
    classifiers = {size: Classifier.from_pretrained(run, batch_tokens=size) for size in SIZES}
    seconds: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(NUM_RUNS):
        for size, classifier in classifiers.items():
            started = time.perf_counter()
            classifier.predict_proba(texts)
            seconds[size].append(time.perf_counter() - started)
    for size, found in seconds.items():
        print(f"{size:>6} tokens: {len(texts) / statistics.median(found):.1f} texts/s")


if __name__ == "__main__":
    main()
