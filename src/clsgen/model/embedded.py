"""Where the base model is that comes with the package. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from clsgen.types import EMBEDDED

EMBEDDED_FOLDER = Path(__file__).parents[1] / "assets" / EMBEDDED


def located(name: str) -> str:
    """Where a backbone's name leads: the package's own folder for "embedded", else the name as it is.

    >>> located("gpt2")
    'gpt2'
    """
    return str(EMBEDDED_FOLDER) if name == EMBEDDED else name
