"""clsgen doctor."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from clsgen.cli import doctor as command
from clsgen.config.render import commented_yaml
from clsgen.errors import ConfigError
from clsgen.pipeline.doctor import Check


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    """Two checks of a made-up machine; a test adds more."""
    checks = [Check("python", "ok", "Python 3.11.7"), Check("disk", "warn", "1.0 GiB free", "Free some space.")]
    monkeypatch.setattr(command, "check_machine", lambda folder: checks)
    return checks


def test_warnings_pass(capsys: pytest.CaptureFixture[str]) -> None:
    command.doctor()
    assert capsys.readouterr().out.splitlines() == [
        "ok    python  Python 3.11.7",
        "warn  disk    1.0 GiB free",
        "              -> Free some space.",
    ]


def test_a_failure_exits_1(machine: list[Check]) -> None:
    machine.append(Check("torch", "fail", "can't be imported", "Reinstall."))
    with pytest.raises(typer.Exit) as caught:
        command.doctor()
    assert caught.value.exit_code == 1


def test_a_configuration_adds_its_backbone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(commented_yaml())
    command.doctor(path)
    assert "ok    backbone  the embedded base model, nothing to fetch" in capsys.readouterr().out
    path.write_text("data: {task: synthetic-notes}\nmodel: {backbone: ./absent}\n")
    with pytest.raises(typer.Exit):
        command.doctor(path)
    assert "fail  backbone  no directory ./absent" in capsys.readouterr().out


def test_a_broken_configuration_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be a readable file"):
        command.doctor(tmp_path / "none.yaml")
