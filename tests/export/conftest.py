"""A run whose model has something to say, and one with biases in its calibrator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny
from clsgen.config.load import save_config
from clsgen.config.run import RunConfig
from clsgen.data.source import write_examples
from clsgen.inference.predictor import Classifier
from clsgen.model.checkpoint import Bundle, save_bundle

REASON = 'It says "we saw wet streets on that day", which rain brings.'


def write_run(folder: Path, bundle: Bundle) -> Path:
    """A run directory around a model."""
    save_bundle(bundle, folder / "model")
    config = {"output": str(folder), "data": {"task": "synthetic-notes"}, "model": {"backbone": "embedded"}}
    save_config(RunConfig.model_validate(config), folder / "config.yaml")
    (folder / "data").mkdir()
    write_examples(folder / "data" / "calibration.jsonl", tiny.examples(24), is_restricted=bundle.spec.is_restricted)
    return folder


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that says one reason; both labels are decided."""
    folder = tmp_path_factory.mktemp("learned")
    built = tiny.dual(tiny.save("llama", folder / "llama"), tuning="full")
    tiny.learn(built, REASON)
    bundle = tiny.bundle_of(built)
    positive = [row.probs["sun"] for row in Classifier(bundle).predict(tiny.examples(24))]
    rule = replace(bundle.rule, threshold=float(np.median(positive)))
    return write_run(folder / "run", replace(bundle, rule=rule))
