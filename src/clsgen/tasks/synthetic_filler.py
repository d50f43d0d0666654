"""Sentences of generated notes that say nothing about the risk: slots, and the pools for short notes.

Nothing here may touch a finding: no oxygen, walking, appetite, code status, lactate, albumin, echo, dialysis, cancer.
"""

from __future__ import annotations

from typing import Final

import numpy as np

WORD_SLOTS: Final[dict[str, tuple[str, ...]]] = {
    "complaint": (
        "pneumonia",
        "a urinary tract infection",
        "cellulitis",
        "a fall",
        "abdominal pain",
        "fever",
        "dehydration",
        "chest pain",
        "syncope",
        "gastrointestinal bleeding",
        "cough and fever",
        "back pain",
    ),
    "primary": ("lung", "colon", "stomach", "pancreatic", "kidney"),
    "organ": ("liver", "bone", "brain"),
    "relative": ("mother", "father", "brother", "sister"),
    "kin": ("brother", "sister", "spouse"),
    "side": ("left", "right"),
    "antibiotic": ("ceftriaxone", "cefepime", "vancomycin", "azithromycin", "levofloxacin"),
}
NUMBER_SLOTS: Final[dict[str, tuple[float, float, int]]] = {
    "year": (1998, 2019, 0),
    "other_ef": (12, 66, 0),
    "sodium": (131, 146, 0),
    "potassium": (3.3, 5.2, 1),
    "chloride": (96, 110, 0),
    "bicarbonate": (20, 30, 0),
    "urea": (9, 42, 0),
    "glucose": (82, 240, 0),
    "calcium": (8.0, 10.2, 1),
    "magnesium": (1.6, 2.4, 1),
    "phosphate": (2.4, 4.6, 1),
    "hemoglobin": (8.4, 14.6, 1),
    "red_cells": (2.9, 4.9, 2),
    "volume": (81, 99, 0),
    "white_cells": (4.1, 17.5, 1),
    "platelets": (110, 410, 0),
    "inr": (0.9, 1.4, 1),
    "alt": (11, 58, 0),
    "temperature": (97.2, 100.1, 1),
    "heart_rate": (62, 104, 0),
    "systolic": (104, 158, 0),
    "diastolic": (54, 88, 0),
    "breaths": (14, 22, 0),
    "course_days": (3, 10, 0),
    "weeks": (2, 6, 0),
    "millimeters": (3, 7, 0),
}
"""Slot -> smallest value, largest value, decimals."""


class Slots(dict[str, str]):
    """Fills the slots of one note: what is stored stays the same, everything else is drawn anew at each use.

    Args:
        rng: Source of randomness.
        is_female: Sex of the patient, for the pronouns.
        fixed: Slots that keep one value in all notes of the patient.
    """

    def __init__(self, rng: np.random.Generator, *, is_female: bool, fixed: dict[str, str]) -> None:
        he, his, him, man = ("she", "her", "her", "woman") if is_female else ("he", "his", "him", "man")
        words = {"he": he, "his": his, "him": him, "man": man}
        super().__init__(fixed | words | {word.capitalize(): text.capitalize() for word, text in words.items()})
        self._rng = rng

    def __missing__(self, key: str) -> str:
        if key in WORD_SLOTS:
            words = WORD_SLOTS[key]
            return words[int(self._rng.integers(len(words)))]
        low, high, decimals = NUMBER_SLOTS[key]
        return f"{low + (high - low) * self._rng.random():.{decimals}f}"


SHORT_FILLER: Final[tuple[tuple[str, str], ...]] = (
    ("history", "{He} has hypertension and type 2 diabetes."),
    ("history", "Past history includes gout and osteoarthritis."),
    ("history", "{He} stopped smoking in {year}."),
    ("history", "Appendix removed in {year}."),
    ("history", "No known drug allergies."),
    ("history", "{He} drinks alcohol rarely."),
    ("history", "{He} takes levothyroxine for hypothyroidism."),
    ("history", "There is a history of kidney stones."),
    ("history", "Cataract surgery on the {side} eye in {year}."),
    ("history", "{His} {relative} had diabetes."),
    ("results", "Sodium {sodium}, potassium {potassium}."),
    ("results", "Hemoglobin {hemoglobin}, platelets {platelets}."),
    ("results", "White cells {white_cells}, glucose {glucose}."),
    ("results", "Calcium {calcium}, magnesium {magnesium}."),
    ("results", "Chest film showed no acute change."),
    ("results", "Urine culture grew no organisms."),
    ("results", "Blood cultures showed no growth."),
    ("results", "The ECG showed sinus rhythm."),
    ("results", "Head CT showed no bleed."),
    ("course", "{He} received {antibiotic} for {course_days} days."),
    ("course", "Fluids were given overnight."),
    ("course", "Pain was treated with acetaminophen."),
    ("course", "Home blood pressure tablets were resumed."),
    ("course", "Insulin was given by sliding scale."),
    ("course", "{He} slept with melatonin."),
    ("course", "Potassium was replaced by mouth."),
    ("course", "{He} had no falls on the ward."),
    ("course", "The {side} arm line was removed."),
    ("discharge", "Follow-up is set in {weeks} weeks."),
    ("discharge", "Temperature {temperature}, heart rate {heart_rate}."),
    ("discharge", "Blood pressure {systolic}/{diastolic}."),
    ("discharge", "The skin was clean and dry."),
    ("discharge", "Medicines were explained to {him}."),
    ("discharge", "A copy was sent to the family doctor."),
    ("discharge", "Pending results: none."),
    ("discharge", "{His} {kin} was called before discharge."),
)
"""Section and sentence."""

SHORT_HEADERS: Final[dict[str, tuple[str, ...]]] = {
    "opening": ("History of Present Illness:", "Presentation:", "HPI:"),
    "history": ("Past Medical History:", "History:", "PMH:"),
    "results": ("Pertinent Results:", "Results:", "Data:"),
    "course": ("Hospital Course:", "Brief Hospital Course:", "Course:"),
    "discharge": ("Discharge Condition:", "Discharge:", "Status at Discharge:"),
}
