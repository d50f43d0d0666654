"""Generated discharge notes: a benchmark whose true probabilities and true causes are known.

The risk of death within 30 days is a function of findings that are all stated in the note (synthetic_risk), so
p(died | note) is exact. No access agreement: anybody can run the LCD path on them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clsgen.config.data import DataSettings
from clsgen.errors import ConfigError, DataError
from clsgen.tasks.synthetic_filler import Slots
from clsgen.tasks.synthetic_reason import causes_of, write_reason
from clsgen.tasks.synthetic_risk import RiskModel, draw_patient, risk_model_for
from clsgen.tasks.synthetic_text import LAYOUTS, Length, patient_words, write_note
from clsgen.types import Example, TaskData, TaskSpec

SPEC = TaskSpec(
    name="synthetic-notes",
    labels=("survived", "died"),
    instruction="Decide from this discharge note whether the patient died or survived within 30 days of discharge.",
    positive="died",
    proxies=("days_to_death",),
)
NUM_ROWS = 2000
"""Rows where the settings name no number."""
LCD_HORIZONS_DAYS = (30, 60, 90)
_TEST_EVERY = 5
"""Every fifth patient is a test patient, whatever the number of rows."""


def load(settings: DataSettings) -> TaskData:
    """The generated notes of the settings, with every fifth patient held out as test.

    Args:
        settings: Read are num_rows, length, prevalence and seed.

    Returns:
        Train and test rows that share no patient.

    Raises:
        ConfigError: If the settings name another task.
    """
    if settings.task != SPEC.name:
        raise ConfigError(
            f"synthetic: data.task must be {SPEC.name!r}; got {settings.task!r}. Load it with its own task."
        )
    examples = generate_notes(
        NUM_ROWS if settings.num_rows is None else settings.num_rows,
        length=settings.length,
        prevalence=settings.prevalence,
        seed=settings.seed,
    )
    train = tuple(example for example in examples if not _is_test(example))
    test = tuple(example for example in examples if _is_test(example))
    return TaskData(spec=SPEC, train=train, test=test)


def generate_notes(num_rows: int, *, length: Length, prevalence: float, seed: int) -> list[Example]:
    """Discharge notes with label, reason, true risk and true causes.

    Row i depends on length, prevalence and seed alone, not on num_rows. Labels are drawn with the true risk, whose
    expectation is the prevalence.

    Args:
        num_rows: Number of notes, 1 or more.
        length: short (median near 120 words) or lcd (near 1,700).
        prevalence: Expected share of notes followed by death within 30 days, 0.001 to 0.99.
        seed: Seed of the generator, 0 or more.

    Returns:
        Examples in the order of the patients. metadata holds `sex`, `risk` (true p(died | note)), `causes` (finding,
        level, contribution to the logit, fact) and `days_to_death` (from discharge).

    Raises:
        DataError: If an argument is out of range.
    """
    _check_arguments(num_rows, length=length, prevalence=prevalence, seed=seed)
    examples: list[Example] = []
    for patient_examples in _patients(length=length, prevalence=prevalence, seed=seed):
        examples += patient_examples
        if len(examples) >= num_rows:
            break
    return examples[:num_rows]


def write_lcd(folder: Path, examples: Sequence[Example], *, horizon_days: int = 30) -> list[Path]:
    """Write the notes as the LCD benchmark's preparation script writes its own.

    Every fifth patient goes to test.json, every tenth to dev.json, the others to train.json. As there, line breaks
    become ` <cr> `, quotation marks are dropped, and metadata.json ties each id to its patient (`subject_id`).

    Args:
        folder: Created if absent; one folder a horizon.
        examples: From generate_notes.
        horizon_days: 30, 60 or 90; outcomes at the three agree with one survival time.

    Returns:
        The files written: train.json, dev.json, test.json, metadata.json.

    Raises:
        DataError: If the horizon is another, or an example was not made by generate_notes.
    """
    if horizon_days not in LCD_HORIZONS_DAYS:
        raise DataError(
            f"write_lcd: horizon_days must be one of {LCD_HORIZONS_DAYS}; got {horizon_days!r}. LCD has no other."
        )
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "dev": [], "test": []}
    subjects: dict[str, dict[str, Any]] = {}
    for example in examples:
        row = _lcd_row(example, horizon_days)
        rows[row["data_type"]].append(row)
        subjects[row["id"]] = {
            "note_id": example.id,
            "subject_id": 10_000_000 + _patient_number(example),
            "data_type": row["data_type"],
        }
    folder.mkdir(parents=True, exist_ok=True)
    contents: dict[str, Any] = {name: {"data": part} for name, part in rows.items()} | {"metadata": subjects}
    paths: list[Path] = []
    for name, content in contents.items():
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return paths


def _check_arguments(num_rows: int, *, length: str, prevalence: float, seed: int) -> None:
    rules: list[tuple[str, str, object, bool]] = [
        ("num_rows", "1 or more", num_rows, num_rows >= 1),
        ("length", f"one of {tuple(LAYOUTS)}", length, length in LAYOUTS),
        ("prevalence", "from 0.001 to 0.99", prevalence, 0.001 <= prevalence <= 0.99),
        ("seed", "0 or more", seed, seed >= 0),
    ]
    for name, rule, value, holds in rules:
        if not holds:
            raise DataError(f"generate_notes: {name} must be {rule}; got {value!r}. Change it.")


def _patients(*, length: Length, prevalence: float, seed: int) -> Iterator[list[Example]]:
    """The notes of patient 0, 1, 2, ... without end; each patient has a stream of random numbers of its own."""
    model = risk_model_for(prevalence)
    patient = 0
    while True:
        yield _patient_examples(np.random.default_rng([seed, patient]), patient, model=model, length=length)
        patient += 1


def _patient_examples(rng: np.random.Generator, patient: int, *, model: RiskModel, length: Length) -> list[Example]:
    admissions = draw_patient(rng, model)
    is_female, fixed = bool(rng.random() < 0.5), patient_words(rng)
    examples: list[Example] = []
    for number, admission in enumerate(admissions, start=1):
        note = write_note(admission, Slots(rng, is_female=is_female, fixed=fixed), rng=rng, length=length)
        causes = causes_of(admission, note)
        is_death = admission.days_to_death <= 30
        examples.append(
            Example(
                id=f"patient{patient:06d}-note{number}",
                document=note.document,
                label=SPEC.labels[int(is_death)],
                explanation=write_reason(causes, note, rng=rng, is_death=is_death),
                groups=(f"patient:{patient:06d}",),
                metadata={
                    "risk": admission.risk,
                    "causes": [cause._asdict() for cause in causes],
                    "days_to_death": admission.days_to_death,
                    "sex": "female" if is_female else "male",
                },
            )
        )
    return examples


def _patient_number(example: Example) -> int:
    for group in example.groups:
        kind, _, number = group.partition(":")
        if kind == "patient" and number.isdecimal() and "days_to_death" in example.metadata:
            return int(number)
    raise DataError(
        f"synthetic: example {example.id!r} must be made by generate_notes; got groups {example.groups!r}. "
        "Write other rows with another writer."
    )


def _is_test(example: Example) -> bool:
    return _patient_number(example) % _TEST_EVERY == _TEST_EVERY - 1


def _lcd_row(example: Example, horizon_days: int) -> dict[str, Any]:
    is_dev = _patient_number(example) % (2 * _TEST_EVERY) == 0
    text = " ".join(example.document.replace("\n", " <cr> ").replace('"', "").split())
    return {
        "id": "0x" + hashlib.sha256(f"{example.id}\n{text}".encode()).hexdigest()[:30],
        "text": text,
        f"out_hospital_mortality_{horizon_days}": int(example.metadata["days_to_death"] <= horizon_days),
        "data_type": "test" if _is_test(example) else "dev" if is_dev else "train",
    }
