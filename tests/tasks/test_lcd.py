from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clsgen.config.data import DataSettings
from clsgen.data.split import components
from clsgen.errors import DataError
from clsgen.tasks.lcd import load
from clsgen.tasks.synthetic import generate_notes, write_lcd


def write(folder: Path, parts: dict[str, list[dict[str, Any]]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        (folder / f"{name}.json").write_text(json.dumps({"data": rows}), encoding="utf-8")


def row(number: int, outcome: object = 0, days: int = 30) -> dict[str, Any]:
    return {"id": f"0x{number}", "text": f"Note {number}", f"out_hospital_mortality_{days}": outcome, "data_type": "x"}


def settings(folder: Path, variant: str | None = None) -> DataSettings:
    return DataSettings(task="lcd", root=str(folder), variant=variant)


PARTS = {"train": [row(1), row(2, 1)], "dev": [row(3, "1")], "test": [row(4)]}


def test_train_and_dev_are_one_pool_and_test_is_test(tmp_path: Path) -> None:
    write(tmp_path, PARTS)
    data = load(settings(tmp_path))
    assert [(example.id, example.label) for example in data.train] == [
        ("0x1", "survived"),
        ("0x2", "died"),
        ("0x3", "died"),
    ]
    assert [example.document for example in data.test] == ["Note 4"]
    assert (data.spec.positive, data.spec.is_restricted) == ("died", True)
    assert "30 days" in data.spec.instruction


@pytest.mark.parametrize("days", [60, 90])
def test_other_horizons_have_columns_and_folders_of_their_own(days: int, tmp_path: Path) -> None:
    name = f"out_hospital_mortality_{days}"
    write(tmp_path / name, {part: [row(number, 1, days)] for number, part in enumerate(("train", "dev", "test"))})
    data = load(settings(tmp_path, str(days)))
    assert [example.label for example in data.train] == ["died", "died"]
    assert f"{days} days" in data.spec.instruction
    with pytest.raises(DataError, match=r"column 'out_hospital_mortality_30' must be there"):
        load(settings(tmp_path / name))


def test_the_missing_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"train": [row(1)], "test": [row(2)]})
    with pytest.raises(DataError, match=r"without dev.json"):
        load(settings(tmp_path))


def test_patients_come_from_the_metadata_file(tmp_path: Path) -> None:
    write(tmp_path, PARTS)
    assert all(example.groups == () for example in load(settings(tmp_path)).train)
    subjects = {f"0x{number}": {"subject_id": 70 + number % 2} for number in (1, 2, 3, 4)}
    (tmp_path / "out_hospital_mortality_30").mkdir()
    path = tmp_path / "out_hospital_mortality_30/metadata.json"
    path.write_text(json.dumps(subjects))
    assert [example.groups for example in load(settings(tmp_path)).train] == [
        ("patient:71",),
        ("patient:70",),
        ("patient:71",),
    ]
    del subjects["0x3"]
    path.write_text(json.dumps(subjects))
    with pytest.raises(DataError, match=r"dev.json: row 1: id must be in metadata.json; got '0x3'"):
        load(settings(tmp_path))
    path.write_text("[]")
    with pytest.raises(DataError, match=r"metadata.json: file must hold one JSON object"):
        load(settings(tmp_path))


def test_notes_without_text_are_dropped_and_counted(tmp_path: Path) -> None:
    write(tmp_path, {**PARTS, "dev": [row(3) | {"text": " "}]})
    data = load(settings(tmp_path))
    assert (len(data.train), data.dropped) == (2, {"empty_text": 1})


@pytest.mark.parametrize("content", [[], {"rows": []}, {"data": [1]}])
def test_another_shape_of_file_is_refused(content: object, tmp_path: Path) -> None:
    write(tmp_path, PARTS)
    (tmp_path / "dev.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r'dev.json: file must hold \{"data": \[rows\]\}'):
        load(settings(tmp_path))


def test_an_unknown_outcome_is_refused_with_its_row(tmp_path: Path) -> None:
    write(tmp_path, {**PARTS, "test": [row(4), row(5, 2)]})
    with pytest.raises(DataError, match=r"test.json: row 2: label must be one of \['0', '1'\]; got '2'"):
        load(settings(tmp_path))


def test_generated_notes_in_the_benchmarks_format_come_back(tmp_path: Path) -> None:
    notes = generate_notes(60, length="short", prevalence=0.3, seed=0)
    write_lcd(tmp_path, notes, horizon_days=30)
    data = load(settings(tmp_path))
    rows = (*data.train, *data.test)
    assert sorted(example.label or "" for example in rows) == sorted(note.label or "" for note in notes)
    assert len(set(components(rows))) == len(set(components(notes)))
    assert "<cr>" in rows[0].document


def test_horizons_are_one_ordered_label_that_the_survival_time_gives(tmp_path: Path) -> None:
    notes = generate_notes(400, length="short", prevalence=0.3, seed=5)
    for days in (30, 60, 90):
        write_lcd(tmp_path / f"out_hospital_mortality_{days}", notes, horizon_days=days)
    data = load(settings(tmp_path, "horizons"))
    assert data.spec.labels == ("within 30 days", "within 60 days", "within 90 days", "later or not")
    assert (data.spec.is_ordered, data.spec.is_restricted, data.spec.positive) == (True, True, None)
    found = [example.label for example in (*data.train, *data.test)]
    times = [example.metadata["days_to_death"] for example in notes]
    for index, (low, high) in enumerate(((0, 30), (30, 60), (60, 90), (90, float("inf")))):
        assert found.count(data.spec.labels[index]) == sum(low < time <= high for time in times) > 0
    assert len(found) == 400
    ids = {row["id"] for row in json.loads((tmp_path / "out_hospital_mortality_30/test.json").read_text())["data"]}
    assert {example.id for example in data.test} == ids


def test_notes_that_a_horizon_lacks_are_counted_and_contradictions_refused(tmp_path: Path) -> None:
    for days, outcomes in ((30, (0, 1, 0, 0)), (60, (0, 1, 1, 0)), (90, (1, 1, 1, 0))):
        parts = {"train": [row(i, outcome, days) for i, outcome in enumerate(outcomes[:2])], "dev": [], "test": []}
        parts["dev"] = [row(2, outcomes[2], days)] if days != 60 else []
        parts["test"] = [row(3, outcomes[3], days)]
        write(tmp_path / f"out_hospital_mortality_{days}", parts)
    data = load(settings(tmp_path, "horizons"))
    assert {example.id: example.label for example in data.train} == {"0x0": "within 90 days", "0x1": "within 30 days"}
    assert [example.label for example in data.test] == ["later or not"]
    assert data.dropped == {"not_in_every_horizon": 1}
    write(tmp_path / "out_hospital_mortality_90", {"train": [row(0, 1, 90), row(1, 0, 90)]})
    with pytest.raises(DataError, match="outcomes of note '0x1' must agree"):
        load(settings(tmp_path, "horizons"))
