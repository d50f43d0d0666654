"""What several files of this folder begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama on the disk."""
    return tiny.save("llama", tmp_path_factory.mktemp("base") / "base")
