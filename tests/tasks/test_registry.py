from __future__ import annotations

from pathlib import Path

import pytest

from clsgen.config.data import DataSettings
from clsgen.errors import ConfigError, DataError
from clsgen.tasks.registry import TASK_NAMES, load_task


def test_the_names_are_those_the_settings_promise() -> None:
    description = DataSettings.model_fields["task"].description or ""
    assert TASK_NAMES
    assert all(name in description for name in TASK_NAMES)


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"data.task must be one of clinifact.*Did you mean 'clinifact'"):
        load_task(DataSettings(task="clinfact"))
    with pytest.raises(ConfigError, match=r"data.task must be one of .*got None"):
        load_task(DataSettings())


def test_an_unknown_variant_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"data.variant must be one of binary, decided; got 'binery'.*'binary'"):
        load_task(DataSettings(task="clinifact", variant="binery"))
    with pytest.raises(ConfigError, match=r"task esnli: data.variant must be null"):
        load_task(DataSettings(task="esnli", variant="binary"))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (DataSettings(task="esnli", labels=("a", "b")), "data.labels"),
        (DataSettings(task="esnli", test="test.csv"), "data.test"),
        (DataSettings(task="pubmedqa", num_rows=50), "data.num_rows"),
        (DataSettings(task="synthetic-notes", root="somewhere"), "data.root"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(settings: DataSettings, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be left at the default"):
        load_task(settings)


@pytest.mark.parametrize("task", sorted(set(TASK_NAMES) - {"synthetic-notes"}))
def test_missing_files_are_named(task: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"task {task}: data.root must hold train.json.*Looked in") as caught:
        load_task(DataSettings(task=task, root=str(tmp_path)))
    assert str(tmp_path / task) in str(caught.value)


def test_notes_are_generated() -> None:
    data = load_task(DataSettings(task="synthetic-notes", num_rows=20))
    assert len(data.train) + len(data.test) == 20


@pytest.mark.parametrize("task", ["clinifact", "evidence_inference", "pubmedqa", "esnli"])
def test_ids_are_unique_and_every_row_can_be_used(task: str, shared_data: Path) -> None:
    data = load_task(DataSettings(task=task, root=str(shared_data)))
    rows = (*data.train, *data.test)
    assert len({row.id for row in rows}) == len(rows)
    assert all(row.document and row.question and row.groups and row.label in data.spec.labels for row in rows)
    assert not any(row.metadata for row in rows)
