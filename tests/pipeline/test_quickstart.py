"""The quickstart: which data it takes, what it replaces, and that it ends with a row to show."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from clsgen.config.run import RunConfig
from clsgen.errors import ConfigError
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.quickstart import check_free, quickstart, quickstart_configs
from clsgen.types import EMBEDDED


@pytest.fixture
def no_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder without any task."""
    monkeypatch.setenv("CLSGEN_SHARED", str(tmp_path / "shared"))
    return tmp_path / "shared" / "data"


def test_clinifact_is_run_only_where_its_files_are(no_shared: Path, tmp_path: Path) -> None:
    assert [config.data.task for config in quickstart_configs(tmp_path)] == ["synthetic-notes"]
    (no_shared / "clinifact").mkdir(parents=True)
    for split in ("train", "validation"):
        with gzip.open(no_shared / "clinifact" / f"{split}.jsonl.gz", "wt") as handle:
            handle.write(json.dumps({}) + "\n")
    configs = quickstart_configs(tmp_path)
    assert [config.data.task for config in configs] == ["synthetic-notes", "clinifact"]
    assert {config.model.backbone for config in configs} == {EMBEDDED}
    assert [config.output for config in configs] == [str(tmp_path / "synthetic-notes"), str(tmp_path / "clinifact")]


@pytest.mark.parametrize(("is_fast", "num_rows", "epochs"), [(True, 1100, 2.0), (False, 800, 1.0)])
def test_fewer_notes_are_read_once_where_bfloat16_is_slow(
    is_fast: bool, num_rows: int, epochs: float, no_shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clsgen.pipeline.quickstart.is_fast_bfloat16", lambda device: is_fast)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (config,) = quickstart_configs(tmp_path)
    assert (config.data.num_rows, config.train.epochs) == (num_rows, epochs)


def test_it_takes_the_place_of_an_earlier_one_and_of_nothing_else(no_shared: Path, tmp_path: Path) -> None:
    configs = quickstart_configs(tmp_path / "q")
    check_free(configs, tmp_path / "q")
    (tmp_path / "q" / "synthetic-notes").mkdir(parents=True)
    with pytest.raises(ConfigError, match="quickstart: output must be new or an earlier quickstart"):
        check_free(configs, tmp_path / "q")
    (tmp_path / "q" / "synthetic-notes" / "config.yaml").write_text("data: {task: synthetic-notes}\n")
    with pytest.raises(ConfigError, match="backbone"):  # a configuration that does not load is no quickstart's
        check_free(configs, tmp_path / "q")
    (tmp_path / "q" / "synthetic-notes" / "config.yaml").write_text(
        "data: {task: synthetic-notes}\nmodel: {backbone: embedded}\n"
    )
    check_free(configs, tmp_path / "q")
    (tmp_path / "q" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds notes\.txt"):
        check_free(configs, tmp_path / "q")


@pytest.mark.slow
def test_it_ends_with_figures_and_a_reason_with_no_network(no_shared: Path, tmp_path: Path, no_network: None) -> None:
    (config,) = quickstart_configs(tmp_path)
    values = config.model_dump()
    values["data"]["num_rows"] = 160
    values["train"] |= {"max_steps": 4, "batch_size": 4, "num_monitor_explanations": 0}
    values["evaluate"]["num_bootstrap"] = 100
    folder = RunFolder(Path(config.output))
    folder.path.mkdir(parents=True)
    folder.config_file.write_text("an earlier quickstart, which is replaced")
    shown = quickstart(RunConfig.model_validate(values))
    assert shown.result["metrics"]["auroc"]["value"] is not None
    assert shown.result["explanations"]["readability"]["n"] > 0
    assert shown.prediction.explanation
    assert shown.example.id == shown.prediction.id
    adapter = json.loads((RunFolder(shown.run).model / "clsgen.json").read_text(encoding="utf-8"))
    assert EMBEDDED in json.dumps(adapter)
