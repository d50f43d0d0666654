"""From settings to roles, for own files and for built-in tasks."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from clsgen.config.data import ColumnSettings, DataSettings, SplitSettings
from clsgen.errors import ConfigError, DataError, LeakError
from clsgen.pipeline.evaluate import context_of
from clsgen.pipeline.rows import load_split
from clsgen.types import Example, TaskData, TaskSpec


def _write(path: Path, numbers: Sequence[int], *, labels: Sequence[str] = ("no", "yes")) -> str:
    draw = random.Random(0)
    path.write_text(
        "".join(
            json.dumps({"text": f"text {n}", "label": draw.choice(labels), "patient": n // 2}) + "\n" for n in numbers
        )
    )
    return str(path)


def test_own_file_is_carved_into_four_roles(tmp_path: Path) -> None:
    train = _write(tmp_path / "notes.jsonl", range(200))
    with (tmp_path / "notes.jsonl").open("a") as stream:
        stream.write('{"text": " ", "label": "no"}\n{"text": "no target"}\n')
    data = DataSettings(train=train, columns=ColumnSettings(group=("patient",)), restricted=True, instruction="Say.")
    spec, split, dropped = load_split(data)
    assert (spec.name, spec.labels, spec.positive) == ("notes", ("no", "yes"), "yes")
    assert (spec.instruction, spec.is_restricted) == ("Say.", True)
    assert sum(map(len, split.roles.values())) == 200
    assert all(split.roles.values())
    assert dropped == {"empty_text": 1, "no_label_or_explanation": 1}


def test_held_out_file_is_the_test_role(tmp_path: Path) -> None:
    train, test = _write(tmp_path / "a.jsonl", range(200)), _write(tmp_path / "b.jsonl", range(200, 230))
    split = load_split(DataSettings(train=train, test=test, columns=ColumnSettings(group=("patient",)))).split
    assert {row.id for row in split.roles["test"]} == {f"test-row-{n}" for n in range(1, 31)}


def test_a_leaking_held_out_file_is_an_error_unless_allowed(tmp_path: Path) -> None:
    train, test = _write(tmp_path / "a.jsonl", range(200)), _write(tmp_path / "b.jsonl", range(190, 230))
    data = DataSettings(train=train, test=test)
    with pytest.raises(LeakError, match=r"test must share no group or document with train; got 10 of 40 test rows"):
        load_split(data)
    assert len(load_split(data.model_copy(update={"allow_leaks": True})).split.roles["test"]) == 40
    folded = data.model_copy(update={"split": SplitSettings(num_folds=4)})
    assert len(load_split(folded).split.roles["test"]) == pytest.approx(60, abs=2)


def test_an_unknown_label_in_the_held_out_file(tmp_path: Path) -> None:
    train = _write(tmp_path / "a.jsonl", range(200))
    test = _write(tmp_path / "b.jsonl", range(200, 210), labels=["maybe"])
    with pytest.raises(DataError, match=r"b\.jsonl: label must be one of 'no', 'yes'; got, in 10 rows, 'maybe' \("):
        load_split(DataSettings(train=train, test=test))


def test_a_built_in_task_keeps_its_own_words_and_stays_restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = tuple(Example(f"r{n}", f"text {n}", label=("no", "yes")[n % 2]) for n in range(100))
    spec = TaskSpec("notes", ("no", "yes"), "The task's own.", "yes", is_restricted=True)
    registry = ModuleType("clsgen.tasks.registry")
    registry.load_task = lambda data: TaskData(spec, examples, dropped={"no_abstract": 2})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, registry.__name__, registry)
    found = load_split(DataSettings(task="notes"))
    assert found.spec == spec
    assert found.dropped == {"no_abstract": 2}
    assert load_split(DataSettings(task="notes", instruction="Mine.")).spec.instruction == "Mine."


def test_one_source_must_be_named() -> None:
    with pytest.raises(ConfigError, match=r"data: train must name a file where no built-in task is set; got None"):
        load_split(DataSettings())
    with pytest.raises(ConfigError, match=r"data: task must be null with data\.train; got 'esnli'"):
        load_split(DataSettings(task="esnli", train="a.csv"))


def test_a_column_called_risk_is_the_true_one_of_generated_notes_alone():
    rows = [Example("a", "A note.", label="no", metadata={"risk": "high"})]
    assert context_of(rows, rows).true_risk is None
    rows = [Example("a", "A note.", label="no", metadata={"risk": 0.25})]
    assert context_of(rows, rows, knows_risk=True).true_risk == {"a": 0.25}
