"""The risk model: against scikit-learn, hand-worked sums and independent draws."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from clsgen.tasks.synthetic_findings import FINDINGS, INDEX, INTERACTIONS, level_index
from clsgen.tasks.synthetic_risk import (
    ORACLE_AUROC,
    SHAPE,
    SHARE_OF_NOTES,
    _expected_auroc,
    contributions_of,
    days_to_death,
    draw_levels,
    draw_patient,
    risk_model_for,
)


def _levels(**states: str) -> np.ndarray:
    """A row of levels: the named states, and elsewhere a state of weight 0 (or the first)."""
    row = []
    for finding in FINDINGS:
        zero = [index for index, level in enumerate(finding.levels) if level.weight == 0]
        row.append(level_index(finding.name, states[finding.name]) if finding.name in states else (*zero, 0)[0])
    return np.array(row)


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: finding.name)
def test_states_make_a_distribution_and_only_weightless_ones_may_go_unsaid(finding):
    assert sum(level.share for level in finding.levels) == pytest.approx(1.0)
    in_interactions = {side for each in INTERACTIONS for side in (each.first, each.second)}
    for level in finding.levels:
        if level.silence > 0:
            assert level.weight == 0
            assert (finding.name, level.name) not in in_interactions


def test_bounds_of_a_measured_finding_do_not_overlap():
    for finding in FINDINGS:
        bounds = sorted(level.bounds for level in finding.levels if level.bounds is not None)
        for (_, high), (low, _) in pairwise(bounds):
            assert high < low


def test_contributions_are_weights_with_interactions_halved():
    alone = contributions_of(_levels(cancer="metastatic"))
    both = contributions_of(_levels(cancer="metastatic", albumin="low"))
    assert alone[INDEX["cancer"]] == 1.5
    assert both[INDEX["cancer"]] == pytest.approx(1.5 + 0.3)
    assert both[INDEX["albumin"]] == pytest.approx(1.2 + 0.3)
    assert both.sum() - alone.sum() == pytest.approx(1.2 + 0.6)


def test_days_invert_the_log_logistic():
    # sigmoid(eta) = 0.2 at 30 days; the odds 1/4 grow by (t / 30) ** SHAPE, so at 120 days they are 1/2.
    eta = np.log(0.25)
    assert days_to_death([eta], [0.2])[0] == pytest.approx(30.0)
    assert days_to_death([eta], [1 / 3])[0] == pytest.approx(120.0)
    assert SHAPE == 0.5


def test_expected_auroc_equals_weighted_auroc_of_scikit_learn():
    rng = np.random.default_rng(3)
    risks, weights = np.sort(rng.random(400)), rng.random(400)
    labels = np.concatenate([np.ones(400), np.zeros(400)])
    sample_weight = np.concatenate([weights * risks, weights * (1 - risks)])
    expected = roc_auc_score(labels, np.concatenate([risks, risks]), sample_weight=sample_weight)
    assert _expected_auroc(risks, weights) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("prevalence", [0.0051, 0.03, 0.3, 0.89])
def test_expected_risk_is_the_prevalence_and_its_auroc_the_aim(prevalence):
    model = risk_model_for(prevalence)
    rng = np.random.default_rng(17)
    contributions = contributions_of(draw_levels(rng, 30_000))
    logits = model.intercept + model.scale * contributions.sum(axis=-1)
    # Played out by hand: a patient who dies within 90 days, or was not meant to have it, has no further note.
    is_written = rng.random((30_000, 1)) < np.array(SHARE_OF_NOTES)
    has_died = rng.random(logits.shape) < 1 / (1 + np.exp(-(logits + 0.5 * np.log(3))))
    is_written[:, 1] &= ~has_died[:, 0]
    is_written[:, 2] &= ~has_died[:, 0] & ~has_died[:, 1]
    risks = (1 / (1 + np.exp(-logits)))[is_written]
    assert risks.mean() == pytest.approx(prevalence, rel=0.06)
    labels = np.concatenate([np.ones(len(risks)), np.zeros(len(risks))])
    auroc = roc_auc_score(labels, np.concatenate([risks, risks]), sample_weight=np.concatenate([risks, 1 - risks]))
    assert auroc == pytest.approx(ORACLE_AUROC, abs=0.012)


def test_patients_keep_chronic_findings_and_end_with_death_within_90_days():
    model = risk_model_for(0.3)
    patients = [draw_patient(np.random.default_rng([5, patient]), model) for patient in range(400)]
    assert {len(admissions) for admissions in patients} == {1, 2, 3}
    chronic = [index for index, finding in enumerate(FINDINGS) if finding.is_chronic]
    for admissions in patients:
        assert all(admission.days_to_death > 90 for admission in admissions[:-1])
        assert len({tuple(admission.levels[index] for index in chronic) for admission in admissions}) == 1
        assert len({admission.values[INDEX["age"]] for admission in admissions}) == 1


def test_no_young_patient_has_dementia_and_no_vasopressors_outside_an_icu():
    levels = draw_levels(np.random.default_rng(2), 2000)
    is_young = levels[..., INDEX["age"]] == 0
    assert not (levels[..., INDEX["dementia"]][is_young] > 0).any()
    has_vasopressors = levels[..., INDEX["vasopressors"]] > 0
    assert has_vasopressors.any()
    assert (levels[..., INDEX["icu"]][has_vasopressors] > 0).all()


def test_drawing_consumes_the_generator_alone():
    first = draw_patient(np.random.default_rng(8), risk_model_for(0.3))
    assert first[0].risk == draw_patient(np.random.default_rng(8), risk_model_for(0.3))[0].risk
