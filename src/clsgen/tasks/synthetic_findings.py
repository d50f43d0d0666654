"""The findings of the generated notes: their states, how common they are, and what they weigh."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Level:
    """One state of a finding.

    Attributes:
        name: Key into the wording.
        share: Marginal probability before findings are reconciled.
        weight: Added to the logit, before the scale of the risk model.
        bounds: Smallest and largest number stated, inclusive; None where no number is stated.
        silence: Probability that the note says nothing; above 0 only where the weight is 0, so that the note still
            determines the risk.
    """

    name: str
    share: float
    weight: float
    bounds: tuple[float, float] | None = None
    silence: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a note can state; levels run from the best state to the worst.

    Attributes:
        name: Key into the wording.
        levels: Its states; shares sum to 1.
        is_chronic: Whether all notes of one patient share it.
        decimals: Digits after the point of its number.
    """

    name: str
    levels: tuple[Level, ...]
    is_chronic: bool = False
    decimals: int = 0


@dataclass(frozen=True, slots=True)
class Interaction:
    """A weight added where two findings meet; each of the two is credited with half."""

    first: tuple[str, str]
    second: tuple[str, str]
    weight: float


FINDINGS: tuple[Finding, ...] = (
    Finding(
        "age",
        (
            Level("under_65", 0.24, -1.1, (46, 64)),
            Level("65_to_74", 0.27, -0.2, (65, 74)),
            Level("75_to_84", 0.30, 0.5, (75, 84)),
            Level("85_and_over", 0.19, 1.2, (85, 96)),
        ),
        is_chronic=True,
    ),
    Finding("cancer", (Level("none", 0.82, 0.0, silence=0.2), Level("metastatic", 0.18, 1.5)), is_chronic=True),
    Finding("code_status", (Level("full", 0.70, -0.3), Level("dnr", 0.23, 0.6), Level("comfort", 0.07, 1.9))),
    Finding(
        "lactate",
        (
            Level("normal", 0.52, -0.6, (0.7, 1.9)),
            Level("raised", 0.28, 0.5, (2.0, 3.9)),
            Level("high", 0.20, 1.7, (4.0, 9.4)),
        ),
        decimals=1,
    ),
    Finding(
        "albumin",
        (
            Level("normal", 0.36, -0.8, (3.5, 4.6)),
            Level("reduced", 0.38, 0.0, (2.5, 3.4)),
            Level("low", 0.26, 1.2, (1.4, 2.4)),
        ),
        decimals=1,
    ),
    Finding(
        "ejection_fraction",
        (
            Level("normal", 0.66, 0.0, (51, 66), silence=0.4),
            Level("reduced", 0.18, 0.3, (31, 50)),
            Level("low", 0.16, 1.0, (12, 30)),
        ),
        is_chronic=True,
    ),
    Finding(
        "icu",
        (Level("none", 0.65, 0.0, silence=0.6), Level("short", 0.20, 0.2, (2, 4)), Level("long", 0.15, 1.0, (6, 9))),
    ),
    Finding("vasopressors", (Level("none", 0.84, 0.0, silence=0.3), Level("used", 0.16, 0.9))),
    Finding("dialysis", (Level("none", 0.86, 0.0, silence=0.3), Level("present", 0.14, 0.7)), is_chronic=True),
    Finding(
        "oxygen",
        (
            Level("none", 0.60, 0.0, silence=0.5),
            Level("low_flow", 0.22, 0.2, (2, 4)),
            Level("high_flow", 0.18, 1.2, (6, 9)),
        ),
    ),
    Finding("dementia", (Level("none", 0.86, 0.0, silence=0.3), Level("advanced", 0.14, 0.7)), is_chronic=True),
    Finding("cirrhosis", (Level("none", 0.87, 0.0, silence=0.3), Level("present", 0.13, 0.9)), is_chronic=True),
    Finding(
        "mobility",
        (
            Level("independent", 0.38, -0.7),
            Level("assisted", 0.36, 0.0, silence=0.3),
            Level("bedbound", 0.26, 0.8),
        ),
    ),
    Finding("intake", (Level("good", 0.36, -0.4), Level("fair", 0.34, 0.0, silence=0.7), Level("poor", 0.30, 0.4))),
    Finding(
        "disposition",
        (Level("home", 0.50, -0.3), Level("rehabilitation", 0.22, 0.0, silence=0.3), Level("facility", 0.28, 0.3)),
    ),
)
NUM_FINDINGS = len(FINDINGS)
INDEX: dict[str, int] = {finding.name: index for index, finding in enumerate(FINDINGS)}

INTERACTIONS: tuple[Interaction, ...] = (
    Interaction(("cancer", "metastatic"), ("albumin", "low"), 0.6),
    Interaction(("age", "85_and_over"), ("mobility", "bedbound"), 0.5),
    Interaction(("ejection_fraction", "low"), ("dialysis", "present"), 0.6),
    Interaction(("vasopressors", "used"), ("lactate", "normal"), -0.6),
)


def level_index(finding: str, level: str) -> int:
    """Position of a level among its finding's levels.

    >>> level_index("lactate", "high")
    2
    """
    return [each.name for each in FINDINGS[INDEX[finding]].levels].index(level)
