"""The sentences of a report: what they call good is, and what speaks against the probabilities is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from clsgen.evaluation.curves import Gain
from clsgen.evaluation.evaluate import evaluate
from clsgen.report.checklist import checklist
from clsgen.report.comparison import comparison_tables
from clsgen.report.results import Results
from clsgen.report.summary import Statement, summary
from clsgen.types import Prediction
from results import BINARY, SETTINGS, results_of


def told(results: Results, gain: Gain | None = None) -> dict[str, Statement]:
    return {statement.heading: statement for statement in summary(results, gain)}


def results_with(prob: np.ndarray, label: np.ndarray, group: list[str] | None = None) -> Results:
    rows = [
        Prediction(
            f"row{n}", {"no": 1 - p, "yes": p}, (), "yes" if p >= 0.4 else "no", 0.4, label="yes" if y else "no",
            group=None if group is None else group[n],
        )
        for n, (p, y) in enumerate(zip(prob.tolist(), label.tolist(), strict=True))
    ]  # fmt: skip
    return replace(results_of(BINARY), predictions=rows, metrics=evaluate(rows, BINARY, settings=SETTINGS))


def test_probabilities_that_are_too_high_as_a_whole_are_not_called_calibrated():
    rng = np.random.default_rng(6)
    logit = rng.normal(-1, 1, 400)
    label = rng.random(400) < 1 / (1 + np.exp(-logit))
    right = told(results_with(1 / (1 + np.exp(-logit)), label))["Calibration"]
    assert right.tone == "good"
    assert "No evidence of miscalibration" in right.text
    high = told(results_with(1 / (1 + np.exp(-logit - 0.5)), label))["Calibration"]
    assert high.tone == "caution"
    assert "As a whole they are too high: calibration in the large is -0." in high.text


def test_of_grouped_rows_it_is_not_said_that_chance_is_excluded():
    rng = np.random.default_rng(1)
    prob = np.repeat(rng.beta(2, 3, 60), 6)
    label = np.repeat(rng.random(60) < prob[::6], 6)
    found = told(results_with(prob, label, [f"g{n // 6}" for n in range(len(prob))]))["Calibration"]
    assert "perfect probabilities of independent rows" in found.text
    assert "rows of one group that share their fate" in found.text
    assert "beyond chance" not in found.text
    alone = told(results_with(prob, label))["Calibration"]
    assert "The probabilities are off beyond chance." in alone.text


def test_a_gain_is_good_when_its_interval_is_above_none():
    sure = told(results_of(BINARY), Gain(0.2, 0.1, 0.05, 0.15))["Use"]
    assert (sure.tone, "The gain is 0.100 (0.050 to 0.150)." in sure.text) == ("good", True)
    unsure = told(results_of(BINARY), Gain(0.2, 0.1, -0.02, 0.15))["Use"]
    assert (unsure.tone, "These rows don't show that it is one." in unsure.text) == ("caution", True)
    assert "Use" not in told(results_of(BINARY))


def test_a_share_of_few_decisions_shows_how_few():
    prob = np.array([0.9, 0.8, *np.linspace(0.01, 0.3, 98)])
    label = np.array([True, True, *(np.arange(98) % 7 == 0)])
    found = told(results_with(prob, label))["Decisions"].text
    assert f"12% (2 of {label.sum()}) of the yes rows are found; 100% (2 of 2) of the decisions for yes" in found


def test_few_groups_are_cautioned_against():
    rng = np.random.default_rng(2)
    prob = rng.random(300)
    found = told(results_with(prob, rng.random(300) < prob, [f"g{n % 5}" for n in range(300)]))
    assert found["Few groups"].text.startswith("Intervals are from draws of 5 groups")


def test_the_checklist_names_a_test_file_of_its_own_and_counts_what_was_dropped():
    results = results_of(BINARY)
    data = results.settings["data"] | {"task": None, "train": "here.csv", "test": "other_hospital.csv"}
    manifest = results.manifest | {"shared_with_test": {}, "dropped": {"empty_text": 2, "unlabelled_held_out": 20}}
    results = replace(results, settings=results.settings | {"data": data}, manifest=manifest)
    answers = {item.number: item.answer for item in checklist(results) if item.guideline == "TRIPOD+AI"}
    assert answers["5a"].startswith("here.csv, test rows from other_hospital.csv;")
    assert "from a file of their own, other_hospital.csv" in answers["16"]
    assert "same source" not in answers["16"]
    assert "(2)" in answers["11"]
    assert "(20)" in answers["11"]


def comparison(**changes: Any) -> dict[str, Any]:
    entry = {"value": 0.8, "low": 0.7, "high": 0.9, "seeds": [0.79, 0.8, 0.81]}
    methods = {
        "clsgen": {"num_rows": 300, "metrics": {"auroc": entry}, "explanations": {}},
        "tfidf": {"num_rows": 300, "metrics": {"auroc": entry | {"seeds": [0.8]}}, "explanations": {}},
        "endpoint": {"num_rows": 120, "metrics": {"auroc": entry | {"seeds": [0.8]}}, "explanations": {}},
    }
    differences = {"endpoint": {"auroc": {"value": 0.0, "low": -0.1, "high": 0.1}, "num_rows": 120}}
    found = {"seeds": [0, 1, 2], "num_rows": 300, "methods": methods, "differences": differences}
    return found | {"compared": ["auroc", "brier"]} | changes


def test_methods_that_answered_some_rows_say_how_many_and_seeds_are_shown_apart():
    means, seeds, differences = comparison_tables(comparison())
    assert [row["name"] for row in means["rows"]][2] == "prompting, endpoint, 120 of 300 rows"
    assert means["rows"][0]["cells"] == ["0.800 (0.700 to 0.900)"]
    assert (seeds["caption"], seeds["names"]) == ("Lowest and highest seed.", ["auroc"])
    assert [(row["name"], row["cells"]) for row in seeds["rows"]] == [("clsgen", ["0.790 to 0.810"])]
    assert [(row["name"], row["cells"]) for row in differences["rows"]] == [
        ("prompting, endpoint, 120 of 300 rows", ["0.000 (-0.100 to 0.100)"])
    ]
