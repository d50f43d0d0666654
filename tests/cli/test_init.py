"""clsgen init."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsgen.cli.init import init
from clsgen.config.load import load_config
from clsgen.config.render import example_config
from clsgen.errors import ArtifactError, ConfigError


def test_the_file_is_a_working_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clsgen.yaml"
    init(path)
    assert load_config(path) == example_config()
    assert f"clsgen train {path}" in capsys.readouterr().out


def test_a_task_can_be_named(tmp_path: Path) -> None:
    init(tmp_path / "a.yaml", task="clinifact")
    assert load_config(tmp_path / "a.yaml").data.task == "clinifact"


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"a\.yaml: the output must be a new file; got one that exists\. .*--force"):
        init(path)
    assert path.read_text() == "mine"
    init(path, force=True)
    assert load_config(path) == example_config()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="must be writable"):
        init(tmp_path / "absent" / "a.yaml")
