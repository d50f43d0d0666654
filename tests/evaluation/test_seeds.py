"""Figures over seeds: means of the seeds' own figures, one interval over rows, differences paired."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from clsgen.config.prediction import EvaluateSettings
from clsgen.data.explanations import vocabulary_of
from clsgen.errors import DataError
from clsgen.evaluation.evaluate import Context
from clsgen.evaluation.seeds import compare, spread, summarise
from clsgen.types import Prediction, TaskSpec

SPEC = TaskSpec("weather", ("rain", "sun"), "Which?", "sun")
SETTINGS = EvaluateSettings(num_bootstrap=100)
LABELS = np.random.default_rng(0).integers(2, size=60)


def predictions(seed: int, *, skill: float = 1.0) -> list[Prediction]:
    """60 rows whose probabilities know the label as well as `skill` says."""
    logit = skill * (2 * LABELS - 1) + np.random.default_rng(seed).normal(size=60)
    return [
        Prediction(
            id=f"r{index}",
            probs={"rain": 1 - prob, "sun": prob},
            logits=(0.0, float(np.log(prob / (1 - prob)))),
            decision="sun" if prob >= 0.5 else "rain",
            threshold=0.5,
            label=SPEC.labels[label],
        )
        for index, (prob, label) in enumerate(zip((1 / (1 + np.exp(-logit))).tolist(), LABELS, strict=True))
    ]


def auroc(found: list[Prediction]) -> float:
    return float(roc_auc_score(LABELS, [each.probs["sun"] for each in found]))


def test_the_value_is_the_mean_of_the_seeds_which_stand_beside_it():
    seeds = [predictions(seed) for seed in (1, 2, 3)]
    entry = summarise(seeds, SPEC, settings=SETTINGS)["auroc"]
    expected = [auroc(found) for found in seeds]
    assert entry["seeds"] == pytest.approx(expected)
    assert entry["value"] == pytest.approx(np.mean(expected))
    assert entry["low"] < entry["value"] < entry["high"]
    assert spread(entry) == (pytest.approx(min(expected)), pytest.approx(max(expected)))


def test_a_figure_that_a_seed_lacks_has_no_spread():
    assert spread({"seeds": [0.5, None]}) is None


def test_text_figures_of_models_without_text_are_null_for_every_seed():
    found = summarise([predictions(1), predictions(2)], SPEC, settings=SETTINGS)
    assert found["rli"]["value"] is None
    assert found["rli"]["seeds"] == [None, None]


def test_a_text_figure_without_anything_to_count_is_null_for_its_seed():
    words = [[replace(row, mode="free", explanation=text) for row in predictions(1)] for text in ("One.", "One two.")]
    found = summarise(words, SPEC, settings=SETTINGS)["distinct_2"]
    assert found["seeds"] == [None, pytest.approx(1 / 60)]  # a single word has no pair
    assert found["value"] is None


def test_what_the_explanations_are_measured_with_is_used():
    rows = [replace(row, mode="free", explanation="One two.", has_ended=True) for row in predictions(1)]
    references = {row.id: "It rained all of the day and the night." for row in rows[:30]}
    words = vocabulary_of(references.values())
    context = Context(documents={row.id: row.id for row in rows}, vocabulary=words, references=references)
    found = summarise([rows, rows], SPEC, settings=SETTINGS, context=context)
    assert found["readability_reference"]["value"] == 1.0
    assert (found["readability"]["value"], found["boilerplate_share"]["value"]) == (0.0, 1.0)


def test_a_paired_difference_is_that_of_the_means():
    strong, weak = [predictions(seed, skill=2.0) for seed in (1, 2)], [predictions(3, skill=0.5)]
    found = compare(strong, weak, SPEC, settings=SETTINGS, names=["auroc"])["auroc"]
    assert found["difference"] == pytest.approx(np.mean([auroc(each) for each in strong]) - auroc(weak[0]))
    assert 0 < found["low"] < found["difference"] < found["high"]


def test_predictions_compared_with_themselves_differ_by_nothing():
    seeds = [predictions(1), predictions(2)]
    found = compare(seeds, seeds, SPEC, settings=SETTINGS, names=["auroc", "brier"])
    assert all(set(each.values()) == {0.0} for each in found.values())


def test_no_seed_is_an_error():
    with pytest.raises(DataError, match="predictions must be there of one seed or more; got none"):
        summarise([], SPEC, settings=SETTINGS)


def test_seeds_of_different_rows_are_an_error():
    with pytest.raises(DataError, match="every seed must predict the same rows; their ids differ"):
        summarise([predictions(1), predictions(2)[:-1]], SPEC, settings=SETTINGS)
