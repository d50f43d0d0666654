"""Nursing notes of the tutorials: generated, so that the true risk of a fall is known for each."""

from __future__ import annotations

import numpy as np
import pandas as pd

# What a note may say of a patient, and what it adds to the logit of a fall.
FINDINGS = (
    ("walks unsteadily with a frame", "walks without help", 2.4),
    ("was confused in the night", "slept through the night", 1.9),
    ("took a sleeping tablet", "took no sleeping tablet", 1.2),
    ("felt dizzy on standing up", "stood up without trouble", 1.6),
)
ASIDES = (
    "Ate well.",
    "Ate little.",
    "Family came in the afternoon.",
    "The dressing is dry.",
    "Asked for another blanket.",
    "Reads the newspaper.",
)
BASE_LOGIT = -4.0


def table(num_rows: int, *, seed: int) -> pd.DataFrame:
    """Notes with their outcome.

    Args:
        num_rows: Notes; two of each patient.
        seed: Of everything that is drawn.

    Returns:
        Columns note, fell (yes or no), why (the reason in words), patient, ward, and risk, the true probability.
    """
    rng = np.random.default_rng(seed)
    return pd.DataFrame([_row(rng, number) for number in range(num_rows)])


def _row(rng: np.random.Generator, number: int) -> dict[str, object]:
    is_there = rng.random(len(FINDINGS)) < 0.35
    logit = BASE_LOGIT + sum(weight for (_, _, weight), found in zip(FINDINGS, is_there, strict=True) if found)
    risk = 1 / (1 + np.exp(-logit))
    said = [there if found else absent for (there, absent, _), found in zip(FINDINGS, is_there, strict=True)]
    rng.shuffle(said)
    sentences = [f"The patient {each}." for each in said]
    sentences.insert(int(rng.integers(len(sentences) + 1)), str(rng.choice(ASIDES)))
    causes = [f'"{there}"' for (there, _, _), found in zip(FINDINGS, is_there, strict=True) if found]
    why = "Nothing in the note points to a fall." if not causes else f"The note says: {', '.join(causes)}."
    return {
        "note": " ".join(sentences),
        "fell": "yes" if rng.random() < risk else "no",
        "why": why,
        "patient": f"p{number // 2}",
        "ward": ("medical", "surgical")[number // 2 % 2],
        "risk": round(float(risk), 3),
    }
