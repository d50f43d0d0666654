"""Figures of parts of the rows are those of the same rows alone, and of each class against the rest."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import sklearn.metrics as reference

from clsgen.config.prediction import EvaluateSettings
from clsgen.errors import DataError
from clsgen.evaluation.evaluate import Context, evaluate
from clsgen.evaluation.subgroups import MAX_VALUES, subgroup_figures
from clsgen.evaluation.table import tabulate
from clsgen.types import Prediction, TaskSpec

SETTINGS = EvaluateSettings(num_bootstrap=100)
BINARY = TaskSpec("toy", ("no", "yes"), "Is it so?", positive="yes")
THREE = TaskSpec("toy3", ("a", "b", "c"), "Which?")


def rows_of(spec: TaskSpec, num_rows: int = 400) -> list[Prediction]:
    rng = np.random.default_rng(5)
    rows = []
    for i, probs in enumerate(rng.dirichlet([1.0] * spec.num_labels, size=num_rows)):
        named = dict(zip(spec.labels, map(float, probs), strict=True))
        rows.append(
            Prediction(
                id=f"row{i}",
                probs=named,
                logits=(),
                decision=max(named, key=named.get),
                threshold=0.5 if spec.positive else None,
                label=str(rng.choice(spec.labels, p=probs)),
                group=f"g{i // 2}",
            )
        )
    return rows


def judged(rows, spec, **columns):
    context = Context(
        columns={name: dict(zip((row.id for row in rows), of, strict=True)) for name, of in columns.items()}
    )
    return evaluate(rows, spec, settings=SETTINGS, context=context)


def test_a_parts_figures_are_those_of_its_rows_alone():
    rows = rows_of(BINARY)
    site = ["north" if i % 3 else "south" for i in range(len(rows))]
    parts = judged(rows, BINARY, site=site)["subgroups"]["site"]
    assert [part["value"] for part in parts] == ["north", "south"]
    for part in parts:
        inside = [row for row, value in zip(rows, site, strict=True) if value == part["value"]]
        label, prob = [row.label == "yes" for row in inside], [row.probs["yes"] for row in inside]
        alone = evaluate(inside, BINARY, settings=SETTINGS)["metrics"]
        assert part["num_rows"] == len(inside)
        assert part["num_groups"] == len({row.group for row in inside})
        assert part["figures"]["auroc"]["value"] == pytest.approx(reference.roc_auc_score(label, prob))
        assert part["figures"]["brier"]["value"] == pytest.approx(reference.brier_score_loss(label, prob))
        decided = [row.decision == "yes" for row in inside]
        assert part["figures"]["ppv"]["value"] == pytest.approx(reference.precision_score(label, decided))
        for name, entry in part["figures"].items():
            assert (entry["low"], entry["high"]) == (alone[name]["low"], alone[name]["high"]), name


def test_numbers_are_put_into_quarters_that_keep_equal_numbers_together():
    rows = rows_of(BINARY)
    age = [float(value) for value in np.random.default_rng(0).integers(20, 90, len(rows))]
    parts = judged(rows, BINARY, age=age)["subgroups"]["age"]
    assert len(parts) == 4
    assert sum(part["num_rows"] for part in parts) == len(rows)
    assert all(60 < part["num_rows"] < 140 for part in parts)
    edges = [tuple(map(float, part["value"].split(" to "))) for part in parts]
    assert all(first[1] < second[0] for first, second in pairwise(edges))
    for part, (low, high) in zip(parts, edges, strict=True):
        assert part["num_rows"] == sum(low <= value <= high for value in age)


def test_small_parts_and_missing_values_are_named():
    rows = rows_of(BINARY)
    site = [None if i < 5 else "" if i < 9 else "b" if i < 40 else "a" for i in range(len(rows))]
    parts = judged(rows, BINARY, site=site)["subgroups"]["site"]
    assert [(part["value"], part["num_rows"]) for part in parts] == [("a", 360), ("b", 31), ("(none)", 9)]
    assert "warning" not in parts[0]
    assert "small" in parts[1]["warning"]
    assert parts[2]["num_by_label"]["yes"] + parts[2]["num_by_label"]["no"] == 9


def test_a_part_with_one_class_has_no_auroc_and_says_why():
    rows = rows_of(BINARY)
    site = ["all yes" if row.label == "yes" and i < 300 else "rest" for i, row in enumerate(rows)]
    part = judged(rows, BINARY, site=site)["subgroups"]["site"][0]
    assert part["figures"]["auroc"]["value"] is None
    assert "no row is labelled 'no'" in part["figures"]["auroc"]["reason"]


def test_no_row_is_lost_whatever_the_values_look_like():
    rows = rows_of(BINARY)
    columns = {
        "date": [20240100 + i % 31 for i in range(len(rows))],
        "site": [str(1000000 + i % 15) for i in range(len(rows))],
        "dose": [1 + i % 14 * 1e-9 for i in range(len(rows))],
        "mixed": [("(none)", None, "a")[i % 3] for i in range(len(rows))],
        "code": [f"{i % 15:03d}" for i in range(len(rows))],
    }
    found = judged(rows, BINARY, **columns)["subgroups"]
    for name in columns:
        assert sum(part["num_rows"] for part in found[name]) == len(rows), name
    assert [part["value"] for part in found["date"]][::3] == ["20240100 to 20240107", "20240124 to 20240130"]
    assert len({part["value"] for part in found["dose"]}) == 4
    assert [(part["value"], part["num_rows"]) for part in found["mixed"]] == [("a", 133), ("(none)", 267)]
    assert [part["value"] for part in found["code"]] == [f"{i:03d}" for i in range(15)]  # codes, not numbers


def test_a_part_of_few_groups_says_so():
    rows = [replace(row, group=f"g{i % 9}") for i, row in enumerate(rows_of(BINARY))]
    (part,) = judged(rows, BINARY, site=["a"] * len(rows))["subgroups"]["site"]
    assert part["warning"] == "9 groups: intervals from so few are too narrow"


def test_few_numbers_stay_values_in_their_order():
    rows = rows_of(BINARY)
    stage = [str(i % 11) for i in range(len(rows))]
    parts = judged(rows, BINARY, stage=stage)["subgroups"]["stage"]
    assert [part["value"] for part in parts] == [str(i) for i in range(11)]


def test_too_many_texts_and_a_column_of_another_length_are_refused():
    rows = rows_of(BINARY)
    with pytest.raises(DataError, match=f"at most {MAX_VALUES} different values; got 400"):
        judged(rows, BINARY, name=[f"n{i}" for i in range(len(rows))])
    with pytest.raises(DataError, match="a value for each of 400 rows; got 1"):
        subgroup_figures(tabulate(rows, BINARY), {"site": ["a"]}, settings=SETTINGS)


def test_confusion_matrix_and_each_class_against_the_rest_are_scikit_learns():
    rows = rows_of(THREE)
    found = judged(rows, THREE)["classes"]
    label, decided = [row.label for row in rows], [row.decision for row in rows]
    assert found["matrix"] == reference.confusion_matrix(label, decided, labels=list(THREE.labels)).tolist()
    assert [part["value"] for part in found["by_class"]] == ["a", "b", "c"]
    for part in found["by_class"]:
        name = part["value"]
        is_label = [each == name for each in label]
        area = reference.roc_auc_score(is_label, [row.probs[name] for row in rows])
        assert part["figures"]["auroc"]["value"] == pytest.approx(area)
        precision = reference.precision_score(label, decided, labels=[name], average=None)[0]
        assert part["figures"]["ppv"]["value"] == pytest.approx(precision)
        assert part["num_by_label"][name] == sum(is_label)
    mean = np.mean([part["figures"]["auroc"]["value"] for part in found["by_class"]])
    assert math.isclose(mean, judged(rows, THREE)["metrics"]["auroc"]["value"])


def test_two_classes_have_a_matrix_and_no_parts():
    rows = rows_of(BINARY)
    found = judged(rows, BINARY)["classes"]
    assert found["by_class"] == []
    assert np.array(found["matrix"]).sum() == len(rows)


def test_ordered_labels_are_judged_by_their_sums():
    ordered = TaskSpec("toy3", ("a", "b", "c"), "Which?", is_ordered=True)
    rows = rows_of(THREE)
    found = judged(rows, ordered)["classes"]["cumulative"]
    assert [part["value"] for part in found] == ["a or earlier", "b or earlier"]
    for part, members in zip(found, ("a", "ab"), strict=True):
        label = [row.label in members for row in rows]
        prob = [sum(row.probs[each] for each in members) for row in rows]
        assert part["figures"]["auroc"]["value"] == pytest.approx(reference.roc_auc_score(label, prob))
        assert part["figures"]["brier"]["value"] == pytest.approx(reference.brier_score_loss(label, prob))
        decided = [each >= 0.5 for each in prob]
        assert part["figures"]["sensitivity"]["value"] == pytest.approx(reference.recall_score(label, decided))
        assert part["figures"]["ppv"]["value"] == pytest.approx(reference.precision_score(label, decided))
    sums = [list(row.cumulative.values()) for row in rows]
    assert all(first <= second <= third for first, second, third in sums)
    assert judged(rows, THREE)["classes"]["cumulative"] == []
