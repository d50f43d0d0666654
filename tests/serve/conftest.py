"""A server on a tiny model, and the classifier that it must agree with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tiny
from clsgen.inference.predictor import Classifier
from clsgen.model.checkpoint import save_bundle
from served import Server


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
