"""The commented configuration and the reference page follow the fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsgen.config.fields import leaves
from clsgen.config.load import load_config
from clsgen.config.render import commented_yaml, example_config, markdown_reference
from clsgen.config.run import RunConfig


@pytest.mark.parametrize(
    "config",
    [
        None,
        example_config("clinifact"),
        RunConfig.model_validate(
            {
                "data": {"train": "a: b.csv", "labels": ["no", "yes", "01"], "instruction": 'Say "yes" or #no.\nNow.'},
                "model": {"backbone": "org/name", "lora": {"targets": ["q_proj"]}},
                "train": {"class_weights": [1.0, 20.0], "learning_rate": 1e-5, "report_to": []},
            }
        ),
    ],
    ids=["example", "task", "own"],
)
def test_the_commented_file_loads_as_the_configuration(tmp_path: Path, config: RunConfig | None) -> None:
    path = tmp_path / "clsgen.yaml"
    path.write_text(commented_yaml(config), encoding="utf-8")
    assert load_config(path) == (example_config() if config is None else config)


def test_every_setting_stands_in_the_file_with_its_meaning() -> None:
    text = commented_yaml()
    flat = " ".join(line.strip().removeprefix("# ") for line in text.splitlines())
    for setting in leaves():
        assert f" {setting.name}: " in flat, setting.path
        assert setting.description in flat, setting.path
    assert max(len(line) for line in text.splitlines()) <= 120


def test_the_example_trains_on_this_machine_alone() -> None:
    config = example_config()
    assert (config.data.task, config.model.backbone, config.model.tuning) == ("synthetic-notes", "embedded", "lora")
    assert config.output == "runs/synthetic-notes"
    assert example_config("clinifact").data.explanations == "extractive"


def test_the_reference_page_has_every_setting() -> None:
    page = markdown_reference()
    for setting in leaves():
        assert f"\n| `{setting.path}` | " in page


def test_the_committed_reference_page_is_current() -> None:
    path = Path(__file__).parents[2] / "docs" / "reference" / "config.md"
    assert path.read_text(encoding="utf-8") == markdown_reference(), "stale: run `python scripts/build_docs.py`"
