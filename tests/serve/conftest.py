"""Servers on tiny models, and the classifiers that they must agree with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny
from clsgen.evaluation.similar_rows import similar_rows
from clsgen.inference.predictor import Classifier
from clsgen.model.checkpoint import Bundle, save_bundle
from clsgen.model.similar import SimilarRows
from served import REASON, TEXT, Server


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    built = tiny.dual(tiny.save("llama", folder / "llama"))
    save_bundle(tiny.bundle_of(built), folder / "m")
    return folder / "m"


@pytest.fixture(scope="session")
def classifier(model: Path) -> Classifier:
    return Classifier.from_pretrained(model)


@pytest.fixture(scope="session")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server.start(
        model, tmp_path_factory.mktemp("server"), "--body-timeout", "2", "--max-body-bytes", "200000"
    )
    yield started
    started.stop()


@pytest.fixture(scope="session")
def insistent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that learned one reason by heart and gives it, and the answer "rain", whatever it is asked."""
    folder = tmp_path_factory.mktemp("insistent")
    built = tiny.dual(tiny.save("llama", folder / "llama"), tuning="full")
    tiny.learn(built, REASON, also=[TEXT, "🌧" * 30 + TEXT])
    bundle = tiny.bundle_of(built)
    positive = [row.probs["sun"] for row in Classifier(bundle).predict(tiny.examples(12))]
    rule = replace(bundle.rule, threshold=float(np.median(positive)))  # so that both labels are decided
    save_bundle(replace(bundle, rule=rule, similar=similar(bundle)), folder / "m")
    return folder / "m"


def similar(bundle: Bundle) -> SimilarRows:
    """What became of 300 drawn rows."""
    rng = np.random.default_rng(4)
    positive = rng.random(300)
    labels = (rng.random(300) < positive).astype(int)
    return similar_rows(np.stack([1 - positive, positive], axis=1), labels, np.arange(300) // 2, bundle.spec.labels)


@pytest.fixture(scope="session")
def talking(insistent: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server.start(insistent, tmp_path_factory.mktemp("talking"))
    yield started
    started.stop()
