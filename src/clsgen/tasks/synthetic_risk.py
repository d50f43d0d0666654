"""The risk behind the generated notes: how findings are drawn, and the chance of death that they give.

The days from discharge to death are log-logistic: P(T <= t) = sigmoid(eta + SHAPE * ln(t / 30)), where eta is an
intercept plus the weights of the findings that the note states. At 30 days that is a logistic regression, and one
draw of T gives outcomes at 30, 60 and 90 days that can't contradict each other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtri

from clsgen.tasks.synthetic_findings import FINDINGS, INDEX, INTERACTIONS, NUM_FINDINGS, level_index

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SHAPE = 0.5
"""Exponent of time in the odds of death; 60 days add 0.5 * ln 2 = 0.35 to the logit."""
SEVERITY_CORRELATION = 0.4
"""Correlation of each finding with the admission's severity, so that bad findings come together."""
SHARE_OF_NOTES = (1.0, 0.3, 0.1)
"""Share of patients meant to have a first, second and third note; death within 90 days ends the series."""
MAX_NOTES = len(SHARE_OF_NOTES)
ORACLE_AUROC = 0.877
"""Expected AUROC of the true risk; the weights are scaled to it, so that rare deaths are no easier to rank."""
_CALIBRATION_PATIENTS = 20_000


class Admission(NamedTuple):
    """The hidden state behind one note.

    Attributes:
        levels: Index of each finding's level, in the order of FINDINGS.
        values: The number that each finding states, NaN where it states none.
        contributions: What each finding adds to the logit, interactions included.
        risk: P(death within 30 days | note).
        days_to_death: Drawn survival time T in days from discharge.
    """

    levels: tuple[int, ...]
    values: tuple[float, ...]
    contributions: tuple[float, ...]
    risk: float
    days_to_death: float


def draw_levels(rng: np.random.Generator, num_patients: int) -> IntArray:
    """Levels of every finding in up to MAX_NOTES admissions of each patient.

    Args:
        rng: Source of randomness.
        num_patients: Number of patients, P.

    Returns:
        int64, shape (P, MAX_NOTES, NUM_FINDINGS).
    """
    severity = rng.standard_normal((num_patients, MAX_NOTES, 1))
    noise = rng.standard_normal((num_patients, MAX_NOTES, NUM_FINDINGS))
    latent = SEVERITY_CORRELATION * severity + np.sqrt(1 - SEVERITY_CORRELATION**2) * noise
    levels = np.empty(latent.shape, dtype=np.int64)
    for index, (finding, cuts) in enumerate(zip(FINDINGS, _cuts(), strict=True)):
        column = latent[..., index]
        levels[..., index] = np.searchsorted(cuts, column[:, :1] if finding.is_chronic else column)
    return _reconciled(levels)


def contributions_of(levels: IntArray) -> FloatArray:
    """What each finding adds to the logit; half of each interaction goes to either side.

    Args:
        levels: Shape (..., NUM_FINDINGS).

    Returns:
        float64, the same shape.
    """
    contributions = np.empty(levels.shape)
    for index, finding in enumerate(FINDINGS):
        contributions[..., index] = np.array([level.weight for level in finding.levels])[levels[..., index]]
    for interaction in INTERACTIONS:
        pairs = (interaction.first, interaction.second)
        sides = [(INDEX[finding], level_index(finding, level)) for finding, level in pairs]
        has_both = np.logical_and.reduce([levels[..., index] == level for index, level in sides])
        for index, _ in sides:
            contributions[..., index] += interaction.weight / 2 * has_both
    return contributions


class RiskModel(NamedTuple):
    """What turns the findings of a note into its risk.

    Attributes:
        intercept: Of the logit at 30 days.
        scale: Factor on every weight.
    """

    intercept: float
    scale: float


@lru_cache(maxsize=32)
def risk_model_for(prevalence: float) -> RiskModel:
    """The model at which a note's expected risk is the prevalence and the true risk ranks with ORACLE_AUROC.

    Both expectations are exact over a fixed draw of patients, so the answer is the same on every call. Later notes
    exist only for patients who live past 90 days, so each note is weighted by that chance.

    Args:
        prevalence: Share of notes followed by death within 30 days, 0.001 to 0.99.

    Returns:
        Intercept and scale, rounded so that machines agree.
    """
    levels = draw_levels(np.random.default_rng(0), _CALIBRATION_PATIENTS)
    sums = contributions_of(levels).sum(axis=-1)
    order = np.argsort(sums, axis=None)

    def excess_auroc(scale: float) -> float:
        logits = _intercept_for(prevalence, scale * sums) + scale * sums
        return _expected_auroc(expit(logits).ravel()[order], _chance_of_note(logits).ravel()[order]) - ORACLE_AUROC

    scale = float(brentq(excess_auroc, 0.05, 1.5, xtol=1e-6))
    return RiskModel(round(_intercept_for(prevalence, scale * sums), 6), round(scale, 6))


def _intercept_for(prevalence: float, sums: FloatArray) -> float:
    """The intercept at which the expected risk of a note is the prevalence; sums has shape (P, MAX_NOTES)."""

    def excess(intercept: float) -> float:
        chances = _chance_of_note(intercept + sums)
        return float((chances * expit(intercept + sums)).sum() / chances.sum() - prevalence)

    return float(brentq(excess, -40.0, 40.0, xtol=1e-8))


def _chance_of_note(logits: FloatArray) -> FloatArray:
    """Probability that each note is written: the patient was meant to have it and lived 90 days past all before."""
    survival = 1 - expit(logits[:, :-1] + SHAPE * np.log(3.0))
    reached = np.concatenate([np.ones((len(logits), 1)), np.cumprod(survival, axis=1)], axis=1)
    return np.asarray(reached * np.array(SHARE_OF_NOTES))


def _expected_auroc(risks: FloatArray, weights: FloatArray) -> float:
    """AUROC of the risk against labels drawn with it, in expectation.

    Args:
        risks: In rising order, shape (N,); ties count as if ranked at random, which their share here makes negligible.
        weights: Of the rows, shape (N,).
    """
    positive, negative = weights * risks, weights * (1 - risks)
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def draw_patient(rng: np.random.Generator, model: RiskModel) -> list[Admission]:
    """The admissions of one patient, in order; the last is the first that ends in death within 90 days.

    Args:
        rng: The patient's own source of randomness.
        model: From risk_model_for.

    Returns:
        One to MAX_NOTES admissions.
    """
    levels = draw_levels(rng, 1)[0]
    contributions = model.scale * contributions_of(levels)
    logits = model.intercept + contributions.sum(axis=-1)
    days = days_to_death(logits, rng.random(MAX_NOTES))
    places = rng.random((MAX_NOTES, NUM_FINDINGS))
    num_meant = int((rng.random() < np.array(SHARE_OF_NOTES)).sum())
    admissions: list[Admission] = []
    for note in range(num_meant):
        admissions.append(
            Admission(
                levels=tuple(levels[note].tolist()),
                values=_values(levels[note].tolist(), places[0].tolist(), places[note].tolist()),
                contributions=tuple(contributions[note].round(10).tolist()),
                risk=float(expit(logits[note])),
                days_to_death=float(days[note]),
            )
        )
        if days[note] <= 90:
            break
    return admissions


def days_to_death(logits: npt.ArrayLike, uniforms: npt.ArrayLike) -> FloatArray:
    """Survival times T by inversion: T <= 30 exactly where the uniform draw is at most sigmoid(logit).

    Args:
        logits: Logit of the 30-day risk.
        uniforms: Draws from (0, 1), of the same shape.

    Returns:
        float64 days, of the same shape.

    >>> days_to_death([0.0], [0.5]).tolist()
    [30.0]
    """
    return np.asarray(30.0 * np.exp((logit(np.asarray(uniforms)) - np.asarray(logits)) / SHAPE))


@lru_cache(maxsize=1)
def _cuts() -> tuple[FloatArray, ...]:
    """Normal quantiles between the levels of each finding."""
    return tuple(ndtri(np.cumsum([level.share for level in finding.levels])[:-1]) for finding in FINDINGS)


def _reconciled(levels: IntArray) -> IntArray:
    """Levels without the pairs that no ward would write: young with dementia, vasopressors outside an ICU."""
    levels = levels.copy()
    is_young = levels[..., INDEX["age"]] == level_index("age", "under_65")
    levels[..., INDEX["dementia"]][is_young] = level_index("dementia", "none")
    needs_icu = (levels[..., INDEX["vasopressors"]] > 0) & (levels[..., INDEX["icu"]] == 0)
    levels[..., INDEX["icu"]][needs_icu] = level_index("icu", "short")
    return levels


def _values(levels: list[int], chronic: list[float], acute: list[float]) -> tuple[float, ...]:
    """The stated numbers, evenly spread over each level's bounds."""
    values: list[float] = []
    for index, finding in enumerate(FINDINGS):
        bounds = finding.levels[levels[index]].bounds
        place = (chronic if finding.is_chronic else acute)[index]
        if bounds is None:
            values.append(float("nan"))
            continue
        step = 10.0**-finding.decimals
        num_steps = round((bounds[1] - bounds[0]) / step) + 1
        values.append(round(bounds[0] + step * int(place * num_steps), finding.decimals))
    return tuple(values)
