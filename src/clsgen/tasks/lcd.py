"""LCD: does the patient die within 30 (or 60, or 90) days of discharge? Long notes of MIMIC-IV, under its agreement.

Reads `train.json`, `dev.json` and `test.json` as the benchmark's preparation script writes them
(github.com/Machine-Learning-for-Medical-Language/long-clinical-doc). test.json is the test role; the rows of train.json
and dev.json together are the rows that train, validation and calibration are carved from, by group.

Ids are hashes, so the patient is known only from the script's `metadata.json`; without it every note is a group of
its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from clsgen.config.data import DataSettings
from clsgen.errors import DataError
from clsgen.tasks.files import cell, find_layout, known_label, read_json
from clsgen.types import Example, TaskData, TaskSpec

_DAYS = ("30", "60", "90")
_HORIZONS = "horizons"
VARIANTS = (*_DAYS, _HORIZONS)
_HORIZON_LABELS = (*(f"within {days} days" for days in _DAYS), "later or not")
_DEFAULT_VARIANT = "30"
_LABEL_BY_OUTCOME = {"0": "survived", "1": "died"}
_FILES = ("train.json", "dev.json", "test.json")


def task_spec(days: str) -> TaskSpec:
    """The task for a horizon of so many days; restricted, whatever the settings say."""
    return TaskSpec(
        name="lcd",
        labels=tuple(_LABEL_BY_OUTCOME.values()),
        instruction="Decide from this discharge note whether the patient died or survived within "
        f"{days} days of discharge.",
        positive="died",
        is_restricted=True,
    )


HORIZONS_SPEC = TaskSpec(
    name="lcd",
    labels=_HORIZON_LABELS,
    instruction="Decide from this discharge note when the patient died after discharge: within 30 days, within 60 "
    "days, within 90 days, or later or not.",
    is_restricted=True,
    is_ordered=True,
)
"""One softmax over the horizons; sums from the first label on are the probabilities of death within each horizon."""


def load(settings: DataSettings) -> TaskData:
    """The rows of one horizon, or of all three as ordered labels.

    Notes without text are left out and counted as `empty_text`, and with `horizons` notes that some horizon lacks, as
    `not_in_every_horizon`.

    Args:
        settings: Read are root and variant (None or 30, 60, 90: days; horizons: all three).

    Raises:
        DataError: Missing files, rows of another horizon, a metadata file that lacks a row, or a note whose outcomes
            contradict each other.
    """
    if settings.variant == _HORIZONS:
        return _all_horizons({days: _load_one(settings, days) for days in _DAYS})
    return _load_one(settings, _DEFAULT_VARIANT if settings.variant is None else settings.variant)


def _all_horizons(found: Mapping[str, TaskData]) -> TaskData:
    """One row a note: its label is the first horizon that it died within. In test, if in test of any horizon."""
    died = {days: {row.id: row.label == "died" for row in (*data.train, *data.test)} for days, data in found.items()}
    in_test = {row.id for data in found.values() for row in data.test}
    rows = {row.id: row for data in found.values() for row in (*data.train, *data.test)}
    whole = [row for row in rows.values() if all(row.id in outcomes for outcomes in died.values())]
    labelled = [replace(row, label=_first_horizon(row.id, died)) for row in whole]
    dropped = Counter(found[_DEFAULT_VARIANT].dropped) + Counter({"not_in_every_horizon": len(rows) - len(whole)})
    return TaskData(
        HORIZONS_SPEC,
        tuple(row for row in labelled if row.id not in in_test),
        tuple(row for row in labelled if row.id in in_test),
        dict(dropped),
    )


def _first_horizon(row_id: str, died: Mapping[str, Mapping[str, bool]]) -> str:
    outcomes = [died[days][row_id] for days in _DAYS]
    if outcomes != sorted(outcomes):
        raise DataError(
            f"lcd: outcomes of note {row_id!r} must agree; it died within an earlier horizon and not a later one. "
            "Write the three folders in one run of the benchmark's script."
        )
    return _HORIZON_LABELS[outcomes.index(True) if any(outcomes) else len(_DAYS)]


def _load_one(settings: DataSettings, days: str) -> TaskData:
    outcome = f"out_hospital_mortality_{days}"
    folder = find_layout(
        "lcd", settings.root, layouts={"script": _FILES}, subfolders=(f"lcd/{outcome}", "lcd", outcome)
    ).folder
    patients = _patients(folder, outcome)
    num_dropped = 0
    rows: dict[str, list[Example]] = {}
    for name in _FILES:
        examples = [
            _example(row, f"{folder / name}: row {number}", outcome=outcome, patients=patients)
            for number, row in enumerate(_data(folder / name), start=1)
        ]
        rows[name] = [example for example in examples if example.document]
        num_dropped += len(examples) - len(rows[name])
    dropped = {"empty_text": num_dropped} if num_dropped else {}
    return TaskData(task_spec(days), (*rows["train.json"], *rows["dev.json"]), tuple(rows["test.json"]), dropped)


def _data(path: Path) -> list[Mapping[str, Any]]:
    value = read_json(path)
    rows = value.get("data") if isinstance(value, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f'{path}: file must hold {{"data": [rows]}}. Write it with the benchmark\'s own script.')
    return rows


def _patients(folder: Path, outcome: str) -> Mapping[str, Any] | None:
    """Row id -> its metadata; None where the script left none. It writes them into a folder below its output."""
    for path in (folder / "metadata.json", folder / outcome / "metadata.json"):
        if path.is_file():
            value = read_json(path)
            if not isinstance(value, dict):
                raise DataError(f"{path}: file must hold one JSON object. Write it with the benchmark's own script.")
            return value
    return None


def _example(row: Mapping[str, Any], where: str, *, outcome: str, patients: Mapping[str, Any] | None) -> Example:
    row_id = cell(row, "id", where)
    groups: tuple[str, ...] = ()
    if patients is not None:
        if row_id not in patients:
            raise DataError(f"{where}: id must be in metadata.json; got {row_id!r}. Write both files in one run.")
        groups = (f"patient:{cell(patients[row_id], 'subject_id', f'{where}: metadata.json')}",)
    return Example(
        id=row_id,
        document=cell(row, "text", where),
        label=_LABEL_BY_OUTCOME[known_label(cell(row, outcome, where), tuple(_LABEL_BY_OUTCOME), where)],
        groups=groups,
    )
