"""A setting that nothing reads is a promise broken in silence."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from clsgen.config.fields import Setting, leaves

SOURCE = Path(__file__).parents[2] / "src" / "clsgen"


@cache
def attributes_read() -> frozenset[str]:
    """Names that stand as `.name` in the code outside config/."""
    files = [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] != "config"]
    assert len(files) > 10
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    return frozenset(
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    )


@pytest.mark.parametrize("setting", leaves(), ids=lambda setting: setting.path)
def test_something_reads_the_setting(setting: Setting) -> None:
    assert setting.name in attributes_read(), f"nothing in src/clsgen reads .{setting.name}"
