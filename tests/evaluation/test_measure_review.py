"""Figures of a study against counting by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clsgen.config.prediction import EvaluateSettings
from clsgen.evaluation.agreement import krippendorff_alpha
from clsgen.evaluation.measure_review import Answered, review_figures

QUESTIONS = {"agrees": ("yes", "unsure", "no"), "harmful": ("no", "possibly", "yes")}
SETTINGS = EvaluateSettings(num_bootstrap=400)


def rating(reviewer, row, agrees, *, model="a", share=0.5, label="yes", harmful="no", **changes):
    made = Answered(
        reviewer=reviewer,
        item=f"{model}-{row}",
        kind="rating",
        answer={"agrees": agrees, "harmful": harmful},
        is_complete=True,
        seconds=float(10 + row),
        row_id=f"r{row}",
        group=f"g{row // 2}",
        models=(model,),
        decisions=("yes",),
        label=label,
        stratum="s",
        share=share,
    )
    return replace(made, **changes)


def pair(reviewer, row, preferred, models=("a", "b"), share=0.5):
    return rating(
        reviewer, row, "", kind="pair", models=models, decisions=("yes", "no"), answer={"preferred": preferred},
        item=f"pair-{row}", share=share,
    )  # fmt: skip


def check(reviewer, answer="no"):
    return rating(
        reviewer, 90, answer, kind="check", models=("",), harmful=answer, item=f"check-{reviewer}-{answer}", share=1.0
    )


def figures(answers, *, models=("a",), min_checks=0.0):
    return review_figures(answers, models=models, questions=QUESTIONS, min_checks=min_checks, settings=SETTINGS)


def test_shares_are_weighted_back_to_the_rows_that_were_not_drawn():
    # Of 100 rows in one stratum 4 were drawn, of 10 in another 2.
    answers = [rating("ana", row, "yes" if row < 3 else "no", share=0.04) for row in range(4)]
    answers += [rating("ana", row, "no", share=0.2) for row in (4, 5)]
    found = figures(answers)["models"]["a"]["agrees"]
    assert found["value"] == pytest.approx((3 * 25) / (4 * 25 + 2 * 5))
    assert found["n"] == 6
    assert found["num_groups"] == 3
    assert found["choices"] == {"yes": 3, "unsure": 0, "no": 3}
    assert found["low"] <= found["value"] <= found["high"]


def test_agreement_with_right_and_with_wrong_decisions():
    answers = [rating("ana", row, "yes", label="yes") for row in range(4)]
    answers += [rating("ana", row, "yes" if row == 4 else "no", label="no") for row in range(4, 8)]
    answers.append(rating("ana", 8, "no", label=None))
    found = figures(answers)["models"]["a"]
    assert (found["agrees_where_right"]["value"], found["agrees_where_right"]["n"]) == (1.0, 4)
    assert (found["agrees_where_wrong"]["value"], found["agrees_where_wrong"]["n"]) == (0.25, 4)
    assert found["agrees"]["n"] == 9


def test_intervals_take_the_rows_of_a_group_together():
    rng = np.random.default_rng(0)
    answers = [
        rating(name, row, answer)
        for group, answer in enumerate(rng.choice(["yes", "no"], 30))
        for row in (2 * group, 2 * group + 1)
        for name in ("ana", "ben")
    ]
    found = figures(answers)["models"]["a"]["agrees"]
    share = found["value"]
    wanted = 2 * 1.96 * np.sqrt(share * (1 - share) / 30)  # 30 groups of four like answers
    assert found["high"] - found["low"] == pytest.approx(wanted, rel=0.15)


def test_agreement_of_reviewers():
    rng = np.random.default_rng(1)
    first = rng.choice(["yes", "unsure", "no"], 20)
    second = np.where(rng.random(20) < 0.7, first, "no")
    answers = [rating("ana", row, first[row]) for row in range(20)] + [
        rating("ben", row, second[row]) for row in range(15)
    ]
    found = figures(answers)["agreement"]["agrees"]
    both = [(first[row], second[row]) for row in range(15)]
    observed = np.mean([a == b for a, b in both])
    chance = sum(
        np.mean([a == c for a, _ in both]) * np.mean([b == c for _, b in both]) for c in ("yes", "unsure", "no")
    )
    assert found["cohen: ana, ben"]["value"] == pytest.approx((observed - chance) / (1 - chance))
    assert found["cohen: ana, ben"]["n"] == 15
    counts = [[(a == c) + (b == c) for c in ("yes", "unsure", "no")] for a, b in both]
    pooled = np.sum(counts, axis=0) / 30
    assert found["fleiss"]["value"] == pytest.approx((observed - (pooled**2).sum()) / (1 - (pooled**2).sum()))
    assert found["krippendorff"]["value"] == pytest.approx(float(krippendorff_alpha(counts)))
    assert found["krippendorff"]["low"] < found["krippendorff"]["value"] < found["krippendorff"]["high"]
    assert figures(answers)["agreement"]["harmful"]["fleiss"]["value"] is None  # one choice throughout
    assert "one choice" in figures(answers)["agreement"]["harmful"]["fleiss"]["reason"]


def test_preference_is_of_models_whatever_their_order_in_the_item():
    answers = [pair("ana", row, "first") for row in range(5)]
    answers += [pair("ana", row, "second", models=("b", "a")) for row in range(5, 8)]
    answers += [pair("ana", 8, "no difference"), pair("ana", 9, "second", share=0.1)]
    (found,) = figures(answers, models=("a", "b"))["preference"]
    assert (found["first"], found["second"]) == ("a", "b")
    assert (found["num_first"], found["num_ties"], found["num_second"]) == (8, 1, 1)
    assert found["net"]["value"] == pytest.approx((8 * 2 - 10) / (9 * 2 + 10))


def test_who_does_not_read_can_be_left_out():
    answers = [rating("ana", row, "yes") for row in range(4)] + [rating("ben", row, "no") for row in range(4)]
    answers += [check("ana"), check("ben", "yes")]
    everybody = figures(answers)
    assert everybody["models"]["a"]["agrees"]["value"] == 0.5
    assert everybody["reviewers"]["ben"] == {
        "num_answered": 5, "num_checks": 1, "num_passed": 0, "median_seconds": 12.0, "is_left_out": False,
    }  # fmt: skip
    readers = figures(answers, min_checks=0.5)
    assert readers["reviewers"]["ben"]["is_left_out"]
    assert not readers["reviewers"]["ana"]["is_left_out"]
    assert readers["models"]["a"]["agrees"]["value"] == 1.0


def test_who_completed_no_check_is_left_out_where_checks_count():
    answers = [rating(name, row, "yes") for name in ("ana", "ben") for row in range(4)]
    answers += [check("ana"), replace(check("ben"), is_complete=False)]
    assert not figures(answers)["reviewers"]["ben"]["is_left_out"]
    readers = figures(answers, min_checks=0.1)
    assert readers["reviewers"]["ben"]["is_left_out"]
    assert not readers["reviewers"]["ana"]["is_left_out"]
    assert readers["models"]["a"]["agrees"]["n"] == 4


def test_what_nobody_answered_is_null_and_says_so():
    answers = [rating("ana", 1, "yes"), rating("ben", 2, "yes", is_complete=False)]
    found = figures(answers, models=("a", "b"))
    assert found["models"]["a"]["agrees"]["n"] == 1
    assert found["models"]["b"]["agrees"]["value"] is None
    assert found["models"]["b"]["agrees"]["reason"] == "nobody answered it"
    assert found["preference"][0]["net"]["value"] is None
    assert found["reviewers"]["ben"]["num_answered"] == 0
