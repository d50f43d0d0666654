"""The server of a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from clsgen.serve.guard import Gate, Guard
from clsgen.serve.process import run
from clsgen.serve.review.app import OpenStudy, make_review_app
from clsgen.serve.settings import ServeSettings


def serve_study(folder: Path, settings: ServeSettings, *, on_start: Callable[[str], None]) -> bool:
    """Let reviewers answer until SIGTERM or SIGINT.

    Args:
        folder: Of the study.
        settings: Where to listen, and limits of a request.
        on_start: Called with the address once requests are taken.

    Returns:
        Whether every request that was taken was answered.

    Raises:
        ArtifactError: There is no study, or its answers can't be written.
    """
    gate = Gate()
    app = make_review_app(OpenStudy(folder))
    app.add_middleware(Guard, settings=settings, count=lambda route, status: None, gate=gate)
    return run(app, settings, gate, on_start=on_start)
