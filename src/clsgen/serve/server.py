"""The server of a model."""

from __future__ import annotations

from collections.abc import Callable

from clsgen.inference.predictor import Classifier
from clsgen.serve.app import make_app
from clsgen.serve.memory import share_one_heap
from clsgen.serve.process import run
from clsgen.serve.service import Service
from clsgen.serve.settings import ServeSettings


def serve(
    classifier: Classifier, name: str, settings: ServeSettings, *, on_start: Callable[[str], None] = lambda url: None
) -> bool:
    """Serve until SIGTERM or SIGINT; a second one stops at once.

    Args:
        classifier: The model.
        name: What the model is called over the wire.
        settings: Limits.
        on_start: Called with the address once requests are taken.

    Returns:
        Whether every request that was taken was answered.
    """
    share_one_heap()
    service = Service(classifier, name, settings)
    has_answered_all = run(make_app(service), settings, service.gate, on_start=on_start, give_up=service.desk.give_up)
    return service.desk.close(5.0) and has_answered_all
