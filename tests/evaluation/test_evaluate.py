from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics as reference
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from clsgen.config.prediction import EvaluateSettings
from clsgen.data.explanations import vocabulary_of
from clsgen.errors import DataError
from clsgen.evaluation.evaluate import Context, evaluate
from clsgen.types import Prediction, TaskSpec

BINARY = TaskSpec("toy", ("no", "yes"), "Is it so?", positive="yes")
THREE = TaskSpec("toy3", ("a", "b", "c"), "Which?")
SETTINGS = EvaluateSettings(num_bootstrap=200)
ALIGNMENT = {"auroc_alignment", "rli", "rli_argmax", "r_lkappa", "r_lkappa_argmax", "unparsed_rate"}
REASON = "The note says that the patient was well and went home"


def _binary_rows(num_rows: int = 120, seed: int = 0, threshold: float = 0.4) -> list[Prediction]:
    rng = np.random.default_rng(seed)
    rows = []
    for i, p in enumerate(rng.random(num_rows)):
        p = float(np.round(p, 2))
        decision = "yes" if p >= threshold else "no"
        stated = decision if rng.random() < 0.9 else ("no" if decision == "yes" else "yes")
        rows.append(
            Prediction(
                id=f"row{i}",
                probs={"no": 1 - p, "yes": p},
                logits=(0.0, 0.0),
                decision=decision,
                threshold=threshold,
                num_document_tokens_cut=10 if i % 4 == 0 else 0,
                mode="free",
                explanation=f"{REASON}.",
                stated_label=None if i % 10 == 0 else stated,
                has_ended=i % 5 != 0,
                label="yes" if rng.random() < p else "no",
                group=f"g{i // 2}",
            )
        )
    return rows


def _three_rows(num_rows: int = 150, seed: int = 1) -> list[Prediction]:
    rng = np.random.default_rng(seed)
    rows = []
    for i, probs in enumerate(rng.dirichlet([1, 1, 1], size=num_rows)):
        rows.append(
            Prediction(
                id=f"row{i}",
                probs=dict(zip("abc", map(float, probs), strict=True)),
                logits=(),
                decision="abc"[int(np.argmax(probs))],
                label=str(rng.choice(list("abc"), p=probs)),
            )
        )
    return rows


def _arrays(rows: list[Prediction]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns = [(row.probs["yes"], row.label == "yes", row.decision == "yes") for row in rows]
    prob, label, decided = (np.array(column) for column in zip(*columns, strict=True))
    return prob, label, decided


def test_binary_figures_agree_with_scikit_learn():
    rows = _binary_rows()
    found = evaluate(rows, BINARY, settings=SETTINGS)["metrics"]
    prob, label, decided = _arrays(rows)
    line = LogisticRegression(C=np.inf, tol=1e-9, max_iter=1000).fit(
        logit(np.clip(prob, 1e-9, 1 - 1e-9))[:, None], label
    )
    expected = {
        "calibration_slope": line.coef_[0, 0],
        "calibration_intercept": line.intercept_[0],
        "auroc": reference.roc_auc_score(label, prob),
        "auprc": reference.average_precision_score(label, prob),
        "brier": reference.brier_score_loss(label, prob),
        "log_loss": reference.log_loss(label, prob),
        "accuracy": reference.accuracy_score(label, decided),
        "f1": reference.f1_score(label, decided),
        "sensitivity": reference.recall_score(label, decided),
        "specificity": reference.recall_score(label, decided, pos_label=False),
        "ppv": reference.precision_score(label, decided),
        "npv": reference.precision_score(label, decided, pos_label=False),
        "mcc": reference.matthews_corrcoef(label, decided),
    }
    (tn, fp), (fn, tp) = reference.confusion_matrix(label, decided)
    counts = {"sensitivity": (tp, tp + fn), "specificity": (tn, tn + fp), "ppv": (tp, tp + fp), "npv": (tn, tn + fn)}
    counts["accuracy"] = (tp + tn, len(rows))
    for name, (numerator, denominator) in counts.items():
        assert (found[name]["numerator"], found[name]["denominator"]) == (numerator, denominator)
    others = {"ece", "ece_reference", "ece_width", "ece_top_label", "smooth_ece", "calibration_in_the_large"}
    others |= {"ici", "e50", "e90", "brier_miscalibration", "brier_discrimination", "brier_uncertainty"}
    parts = [found[f"brier_{name}"]["value"] for name in ("miscalibration", "discrimination", "uncertainty")]
    assert parts[0] - parts[1] + parts[2] == pytest.approx(found["brier"]["value"])
    assert 0 < found["e50"]["value"] <= found["e90"]["value"]
    assert set(found) == {*expected, *others}
    analytic = found["auroc"]["analytic"]
    assert analytic["method"] == "Obuchowski"
    assert (analytic["low"], analytic["high"]) == pytest.approx(
        (found["auroc"]["low"], found["auroc"]["high"]), abs=0.05
    )
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-4), name
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
        assert (found[name]["n"], found[name]["num_groups"]) == (120, 60)


def test_the_positive_label_need_not_be_the_second():
    rows = _binary_rows()
    other = TaskSpec("toy", ("yes", "no"), "Is it so?", positive="yes")
    first, second = (evaluate(rows, spec, settings=SETTINGS) for spec in (BINARY, other))
    assert first["metrics"] == second["metrics"]
    numbers = [
        {name: (entry["value"], entry["low"], entry["high"]) for name, entry in result["explanations"].items()}
        for result in (first, second)
    ]
    assert numbers[0] == numbers[1]


def test_alignment_agrees_with_scikit_learn_on_the_parsed_rows():
    rows = _binary_rows()
    found = evaluate(rows, BINARY, settings=SETTINGS)["explanations"]
    parsed = [row for row in rows if row.stated_label is not None]
    prob, _, decided = _arrays(parsed)
    stated = np.array([row.stated_label == "yes" for row in parsed])
    assert found["auroc_alignment"]["value"] == pytest.approx(reference.roc_auc_score(stated, prob))
    assert found["auroc_alignment"]["num_stated"] == {"no": int((~stated).sum()), "yes": int(stated.sum())}
    for suffix, said in (("", decided), ("_argmax", prob >= 0.5)):
        differing = int((said != stated).sum())
        assert found[f"rli{suffix}"]["value"] == pytest.approx(differing / 108)
        assert found[f"rli{suffix}"]["n"] == 108
        assert found[f"rli{suffix}"]["bounds"] == pytest.approx(
            {"all_agree": differing / 120, "all_disagree": (differing + 12) / 120}
        )
        kappa = reference.cohen_kappa_score(said, stated)
        assert found[f"r_lkappa{suffix}"]["value"] == pytest.approx(kappa)
    assert found["unparsed_rate"]["value"] == pytest.approx(12 / 120)
    assert found["unparsed_rate"]["num_unparsed"] == 12


def test_unparsed_explanations_are_no_label():
    rows = _binary_rows()
    without = [row for row in rows if row.stated_label is not None]
    found, fewer = (evaluate(each, BINARY, settings=SETTINGS)["explanations"] for each in (rows, without))
    for name in ("auroc_alignment", "rli", "r_lkappa"):
        assert found[name]["value"] == fewer[name]["value"]
    assert fewer["unparsed_rate"]["value"] == 0.0


def test_decision_mode_leaves_alignment_null_and_the_text_measured():
    rows = [replace(row, mode="decision") for row in _binary_rows()]
    found = evaluate(rows, BINARY, settings=SETTINGS)["explanations"]
    for name in ALIGNMENT:
        assert found[name]["value"] is None
        assert found[name]["reason"] == "defined in free mode only"
    assert found["length_words"]["value"] == 11.0


def test_rows_of_both_modes_align_by_the_free_ones():
    rows = _binary_rows()
    mixed = [replace(row, mode="decision") if i % 3 == 0 else row for i, row in enumerate(rows)]
    found = evaluate(mixed, BINARY, settings=SETTINGS)["explanations"]
    assert found["unparsed_rate"]["n"] == 80
    assert found["length_words"]["n"] == 120


def test_one_stated_label_leaves_alignment_null_and_counted():
    rows = [replace(row, stated_label="no") for row in _binary_rows()]
    found = evaluate(rows, BINARY, settings=SETTINGS)["explanations"]
    assert found["auroc_alignment"]["value"] is None
    assert found["auroc_alignment"]["reason"] == "only one label was stated: 'no'"
    assert found["auroc_alignment"]["num_stated"] == {"no": 120, "yes": 0}
    # Kappa is defined and 0: the head still says both.
    assert found["r_lkappa"]["value"] == 0.0


def test_explanations_that_state_nothing_leave_alignment_null():
    rows = [replace(row, stated_label=None) for row in _binary_rows()]
    found = evaluate(rows, BINARY, settings=SETTINGS)["explanations"]
    for name in ALIGNMENT - {"unparsed_rate"}:
        assert found[name]["value"] is None
        assert found[name]["reason"] == "no explanation states a label"
    assert found["rli"]["bounds"] == {"all_agree": 0.0, "all_disagree": 1.0}
    assert found["unparsed_rate"]["value"] == 1.0


def test_without_explanations_every_text_entry_is_not_applicable_and_of_the_same_shape():
    bare = [replace(row, explanation=None, mode=None, stated_label=None, has_ended=None) for row in _binary_rows()]
    found, full = (evaluate(rows, BINARY, settings=SETTINGS)["explanations"] for rows in (bare, _binary_rows()))
    assert list(found) == list(full)
    for entry in found.values():
        assert entry["value"] is None
        assert entry["reason"] == "not applicable"
        assert entry["n"] == 0
        assert entry["definition"]


def test_text_measures_by_hand():
    texts = [
        'It says "the patient was well today" here.',
        '"no such words at all" and "was well today at noon"',
        "Well.",
    ]
    rows = [replace(row, explanation=text) for row, text in zip(_binary_rows(3), texts, strict=True)]
    documents = {row.id: "On Monday the patient was\nWell today at noon." for row in rows}
    references = {rows[1].id: "The patient was well today, on Monday at noon.", rows[2].id: "Well."}
    context = Context(
        documents=documents, vocabulary=vocabulary_of([*documents.values(), *texts]), references=references
    )
    found = evaluate(rows, BINARY, settings=SETTINGS, context=context)["explanations"]
    assert found["grounding"]["value"] == pytest.approx(2 / 3)
    assert found["grounding"]["num_quotes"] == 3
    assert found["quote_share"]["value"] == pytest.approx(2 / 3)
    # 8, 11 and 1 words; the first row did not end by itself.
    assert found["length_words"]["value"] == pytest.approx(20 / 3)
    assert found["ended_share"]["value"] == pytest.approx(2 / 3)
    assert found["readability"]["value"] == pytest.approx(1 / 3)
    assert (found["readability_reference"]["value"], found["readability_reference"]["n"]) == (0.5, 2)
    assert found["repetition"]["value"] == 0.0
    assert found["distinct_1"]["value"] == pytest.approx(15 / 20)
    assert found["distinct_1"]["low"] is None
    assert found["distinct_1"]["reason"].startswith("no interval")


def test_boilerplate_is_what_other_documents_have_word_for_word():
    texts = ["Another study.", "another study", "No pain at all.", "No pain at all.", "Well."]
    rows = [replace(row, explanation=text) for row, text in zip(_binary_rows(5), texts, strict=True)]
    documents = {row.id: document for row, document in zip(rows, ["a", "b", "c", "c", "d"], strict=True)}
    found = evaluate(rows, BINARY, settings=SETTINGS, context=Context(documents=documents))["explanations"]
    assert found["boilerplate_share"]["value"] == pytest.approx(2 / 5)
    assert found["boilerplate_share"]["n"] == 5
    alone = evaluate(rows, BINARY, settings=SETTINGS)["explanations"]["boilerplate_share"]
    assert (alone["value"], alone["reason"]) == (None, "needs the documents")


def test_text_measures_without_what_they_need_are_null_with_the_reason():
    found = evaluate(_binary_rows(), BINARY, settings=SETTINGS)["explanations"]
    assert found["readability"]["reason"] == "needs the vocabulary of the training documents"
    assert found["grounding"]["reason"] == "needs the documents"
    documents = {row.id: "" for row in _binary_rows()}
    found = evaluate(_binary_rows(), BINARY, settings=SETTINGS, context=Context(documents=documents))["explanations"]
    assert found["grounding"]["value"] is None
    assert found["grounding"]["reason"] == "no explanation quotes four words or more"


def test_multiclass_figures_agree_with_scikit_learn():
    rows = _three_rows()
    found = evaluate(rows, THREE, settings=SETTINGS)
    prob = np.array([[row.probs[label] for label in "abc"] for row in rows])
    label, decided = [row.label for row in rows], [row.decision for row in rows]
    metrics = found["metrics"]
    assert metrics["auroc"]["value"] == pytest.approx(reference.roc_auc_score(label, prob, multi_class="ovr"))
    assert metrics["log_loss"]["value"] == pytest.approx(reference.log_loss(label, prob))
    assert metrics["f1"]["value"] == pytest.approx(reference.f1_score(label, decided, average="macro"))
    assert metrics["accuracy"]["value"] == pytest.approx(reference.accuracy_score(label, decided))
    for name in ("sensitivity", "specificity", "ppv", "npv", "mcc"):
        assert metrics[name]["value"] is None
        assert metrics[name]["reason"] == "defined for two classes"
    assert found["positive"] is None
    assert found["num_groups"] == 150


def test_the_definition_stands_beside_every_figure_and_differs_with_the_classes():
    binary = evaluate(_binary_rows(), BINARY, settings=EvaluateSettings(num_bootstrap=100, num_bins=7))
    three = evaluate(_three_rows(), THREE, settings=SETTINGS)
    for result in (binary, three):
        for entry in (*result["metrics"].values(), *result["explanations"].values()):
            assert len(entry["definition"]) > 20
            assert "{" not in entry["definition"]
    assert "7 equal-mass bins" in binary["metrics"]["ece"]["definition"]
    assert "positive label, 0 to 1" in binary["metrics"]["brier"]["definition"]
    assert "sum over classes of (p_c - y_c)^2, 0 to 2" in three["metrics"]["brier"]["definition"]
    assert "one-vs-rest" in three["metrics"]["auroc"]["definition"]


@pytest.mark.parametrize(("rows", "spec"), [(_binary_rows(), BINARY), (_three_rows(), THREE)])
def test_shuffled_rows_give_the_same_file_to_the_last_bit(rows, spec):
    shuffled = [rows[i] for i in np.random.default_rng(3).permutation(len(rows))]
    first, second = (json.dumps(evaluate(each, spec, settings=SETTINGS), allow_nan=False) for each in (rows, shuffled))
    assert first == second


def test_one_class_leaves_null_with_the_reason_and_never_zero():
    rows = [replace(row, label="no") for row in _binary_rows()]
    result = evaluate(rows, BINARY, settings=SETTINGS)
    for name in ("auroc", "auprc", "f1", "sensitivity"):
        entry = result["metrics"][name]
        assert (entry["value"], entry["low"], entry["high"]) == (None, None, None)
        assert entry["reason"] == "no row is labelled 'yes'"
    assert result["metrics"]["mcc"]["reason"] == "all rows have one label, or one decision"
    assert result["metrics"]["brier"]["value"] > 0
    assert result["metrics"]["specificity"]["value"] > 0
    none = [replace(row, threshold=1.0, decision="no") for row in _binary_rows() if row.probs["yes"] < 0.99]
    none_decided = evaluate(none, BINARY, settings=SETTINGS)
    assert none_decided["metrics"]["ppv"]["reason"] == "no row is decided 'yes'"
    assert none_decided["metrics"]["ppv"]["value"] is None


def test_an_absent_class_of_three_is_named():
    rows = [row for row in _three_rows() if row.label != "b"]
    entry = evaluate(rows, THREE, settings=SETTINGS)["metrics"]["auroc"]
    assert entry["value"] is None
    assert entry["reason"] == "no row is labelled 'b'"


def test_rows_without_label_are_counted_and_kept_for_the_text():
    rows = _binary_rows()
    partly = [replace(row, label=None) if i < 20 else row for i, row in enumerate(rows)]
    result = evaluate(partly, BINARY, settings=SETTINGS)
    assert result["num_unlabelled"] == 20
    assert result["num_rows"] == 120
    assert sum(result["num_by_label"].values()) == 100
    assert result["metrics"]["auroc"]["n"] == 100
    assert (
        result["metrics"]["auroc"]["value"]
        == evaluate(rows[20:], BINARY, settings=SETTINGS)["metrics"]["auroc"]["value"]
    )
    assert result["explanations"]["length_words"]["n"] == 120


def test_no_label_at_all_is_said():
    result = evaluate([replace(row, label=None) for row in _binary_rows()], BINARY, settings=SETTINGS)
    for entry in result["metrics"].values():
        assert entry["value"] is None
        assert entry["reason"] == "no row has a label"


def test_the_head_of_the_file_says_split_counts_and_method():
    result = evaluate(_binary_rows(), BINARY, settings=SETTINGS, context=Context(split="validation"))
    assert result["split"] == "validation"
    assert evaluate(_binary_rows(), BINARY, settings=SETTINGS)["split"] == "test"
    assert result["labels"] == ["no", "yes"]
    assert result["threshold"] == 0.4
    assert result["truncated_share"] == 0.25
    assert result["bootstrap"]["num_draws"] == 200
    assert result["bootstrap"]["confidence"] == 0.95


def test_settings_reach_the_figures():
    base = evaluate(_binary_rows(), BINARY, settings=SETTINGS)["metrics"]
    narrow = evaluate(_binary_rows(), BINARY, settings=SETTINGS.model_copy(update={"confidence": 0.5}))["metrics"]
    reseeded = evaluate(_binary_rows(), BINARY, settings=SETTINGS.model_copy(update={"seed": 1}))["metrics"]
    coarse = evaluate(_binary_rows(), BINARY, settings=SETTINGS.model_copy(update={"num_bins": 3}))["metrics"]
    assert base["auroc"]["low"] < narrow["auroc"]["low"] < narrow["auroc"]["high"] < base["auroc"]["high"]
    assert base["auroc"]["low"] != reseeded["auroc"]["low"]
    assert base["ece"]["value"] != coarse["ece"]["value"]


def test_rows_of_one_group_have_no_interval_and_say_so():
    rows = [replace(row, group="same") for row in _binary_rows()]
    result = evaluate(rows, BINARY, settings=SETTINGS)
    assert result["num_groups"] == 1
    entry = result["metrics"]["auroc"]
    assert entry["value"] is not None
    assert entry["low"] is None
    assert entry["reason"] == "no interval: too few groups to draw from"


def test_what_is_too_dear_to_redraw_keeps_its_value_and_its_rows(monkeypatch):
    rows = _binary_rows()
    dear = evaluate(rows, BINARY, settings=SETTINGS)["metrics"]
    monkeypatch.setattr("clsgen.evaluation.measure_probability._MAX_CURVE_ROWS", 1000)
    once = evaluate(rows, BINARY, settings=SETTINGS)["metrics"]
    for name in ("ici", "e50", "e90"):
        assert once[name]["n"] == dear[name]["n"] == 120
        assert once[name]["value"] == dear[name]["value"]
        assert once[name]["low"] is None
        assert "no interval" in once[name]["reason"]
        assert dear[name]["low"] is not None


def test_true_risk_adds_the_distance_and_the_excess_over_the_oracle():
    rows = _binary_rows()
    prob, label, _ = _arrays(rows)
    risk = np.clip(prob + 0.1, 0, 1)
    by_id = dict(zip((row.id for row in rows), risk, strict=True))
    found = evaluate(rows, BINARY, settings=SETTINGS, context=Context(true_risk=by_id))["metrics"]
    assert found["risk_error"]["value"] == pytest.approx(np.abs(prob - risk).mean())
    excess = reference.brier_score_loss(label, prob) - reference.brier_score_loss(label, risk)
    assert found["excess_brier"]["value"] == pytest.approx(excess)
    perfect = {row.id: row.probs["yes"] for row in rows}
    found = evaluate(rows, BINARY, settings=SETTINGS, context=Context(true_risk=perfect))["metrics"]
    assert (found["risk_error"]["value"], found["excess_brier"]["value"]) == (0.0, 0.0)


def test_no_text_of_a_row_reaches_the_result():
    rows = [replace(row, explanation="Zebra " * 9, question="Xylophone?") for row in _binary_rows()]
    written = json.dumps(evaluate(rows, BINARY, settings=SETTINGS)).lower()
    assert "zebra" not in written
    assert "xylophone" not in written
    assert "row1" not in written


ROW = _binary_rows(1)[0]


def test_a_probability_rounded_across_its_threshold_is_no_contradiction():
    near = replace(ROW, probs={"no": 0.6004, "yes": 0.3996})
    assert evaluate([near], BINARY, settings=SETTINGS)["num_rows"] == 1


@pytest.mark.parametrize(
    ("rows", "spec", "message"),
    [
        ([], BINARY, "predictions must be at least one row; got none"),
        ([ROW, ROW], BINARY, r"id must occur once; got 'row0' more than once \(1 such ids\)"),
        ([ROW], THREE, r"probs of row 'row0' must be of the labels \['a', 'b', 'c'\]; got \['no', 'yes'\]"),
        ([replace(ROW, label="YES")], BINARY, r"label of row 'row0' must be one of \['no', 'yes'\]; got 'YES'"),
        ([replace(ROW, stated_label="y")], BINARY, r"stated_label of row 'row0' must be one of"),
        ([replace(ROW, decision="y")], BINARY, r"decision of row 'row0' must be one of"),
        ([replace(ROW, probs={"no": 0.5, "yes": float("nan")})], BINARY, r"probs of row 'row0' must be from 0 to 1"),
        ([ROW, replace(ROW, id="b", threshold=0.7)], BINARY, "threshold must be the same in all rows; got 2 of them"),
        ([replace(ROW, decision="no")], BINARY, r"decision must be 'yes' from a probability of 0.4 upwards"),
        (
            [replace(ROW, threshold=0.3)],
            replace(BINARY, positive="no"),
            r".*got 'yes' at 0.36 \(rows like this: 1\)",
        ),
        ([ROW], replace(BINARY, positive=None), r"positive must be one of \['no', 'yes'\]; got None"),
    ],
)
def test_predictions_that_do_not_fit_are_named(rows, spec, message):
    with pytest.raises(DataError, match=f"evaluate: {message}"):
        evaluate(rows, spec, settings=SETTINGS)


@pytest.mark.parametrize(
    ("rows", "spec", "context", "message"),
    [
        ([ROW], BINARY, Context(documents={}), r"documents must hold every explained row; got none for 'row0'"),
        ([ROW], BINARY, Context(true_risk={}), r"true_risk must name every row; got none for 'row0' \(1 rows\)"),
        ([ROW], BINARY, Context(true_risk={"row0": 1.5}), r"true_risk must be from 0 to 1; got 1.5 to 1.5"),
        (_three_rows(3), THREE, Context(true_risk={}), r"true_risk must be of a task with two labels; got 3"),
    ],
)
def test_context_that_does_not_fit_is_named(rows, spec, context, message):
    with pytest.raises(DataError, match=f"evaluate: {message}"):
        evaluate(rows, spec, settings=SETTINGS, context=context)


def test_importing_evaluation_loads_no_torch():
    code = (
        "import sys, clsgen.evaluation.evaluate, clsgen.evaluation.thresholds; "
        "print([name for name in ('torch', 'transformers', 'peft', 'sklearn') if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"
