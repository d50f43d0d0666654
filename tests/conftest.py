"""Fixtures that more than one test folder uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of development data; a test that needs it skips where it is absent."""
    root = os.environ.get("CLSGEN_SHARED")
    folder = Path(root) if root else Path(__file__).parents[1].parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the development data: set CLSGEN_SHARED to the folder that holds data/")
    return folder / "data"
