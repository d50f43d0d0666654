"""clsgen: a calibrated probability, and the reason in words, from one reading of a text."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from clsgen.errors import ClsgenError
    from clsgen.inference.panel import Panel
    from clsgen.inference.predictor import Classifier
    from clsgen.pipeline.sklearn import ClsgenClassifier
    from clsgen.pipeline.stock import StockClassifier
    from clsgen.types import Example, Prediction, TaskSpec

__all__ = [
    "Classifier",
    "ClsgenClassifier",
    "ClsgenError",
    "Example",
    "Panel",
    "Prediction",
    "StockClassifier",
    "TaskSpec",
    "__version__",
]

_HOMES = {
    "Classifier": "clsgen.inference.predictor",
    "ClsgenClassifier": "clsgen.pipeline.sklearn",
    "ClsgenError": "clsgen.errors",
    "Example": "clsgen.types",
    "Panel": "clsgen.inference.panel",
    "Prediction": "clsgen.types",
    "StockClassifier": "clsgen.pipeline.stock",
    "TaskSpec": "clsgen.types",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that `import clsgen` stays free of torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'clsgen' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
