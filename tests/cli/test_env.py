"""clsgen env."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from clsgen.cli.env import env


def test_lines_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    env()
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["torch"] == version("torch")
    assert {"python", "platform", "cores", "memory_gib", "device", "transformers"} <= set(rows)


def test_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    env(is_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert facts["packages"]["peft"] == version("peft")
