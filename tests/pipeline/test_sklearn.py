"""`ClsgenClassifier` under scikit-learn's own checks and tools, and beside `clsgen train` on the same rows."""

from __future__ import annotations

import gc
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import validate_data

import tiny
from clsgen import Classifier, ClsgenClassifier, Example
from clsgen.config.load import load_config, save_config
from clsgen.errors import ArtifactError, ClsgenError, ConfigError, DataError
from clsgen.pipeline import sklearn as module
from clsgen.pipeline.compare import compare_run
from clsgen.pipeline.evaluate import evaluate_run
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.labels import classes_of
from clsgen.pipeline.train import train_run

SETTINGS: dict[str, Any] = {**tiny.SCRATCH, "calibrate": {"threshold": "half"}}
ROWS = tiny.examples(120)
X = [row.document for row in ROWS]
Y = [row.label for row in ROWS]
REASONS = [row.explanation for row in ROWS]
GROUPS = [index // 2 for index in range(len(ROWS))]


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> None:
    """Runs of pickled classifiers stay on the disk: here, where the tests' own files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> ClsgenClassifier:
    made = ClsgenClassifier(SETTINGS, output=str(tmp_path_factory.mktemp("fits")))
    return made.fit(X, Y, explanations=REASONS, groups=GROUPS)


def test_what_needs_test_rows_says_that_there_are_none(fitted):
    with pytest.raises(ArtifactError, match=r"must have test rows to be judged; .* clsgen eval FILE"):
        evaluate_run(fitted.run_)
    with pytest.raises(ConfigError, match="compare: there must be test rows"):
        compare_run(load_config(fitted.run_ / "config.yaml"))


# ---- the interface ----


def test_it_gives_probabilities_labels_and_reasons_of_any_container_of_texts(fitted):
    probs = fitted.predict_proba(X)
    assert probs.shape == (120, 2)
    assert fitted.classes_.tolist() == ["rain", "sun"]
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    series = pd.Series(X, index=np.arange(120)[::-1])
    for given in (series, np.array(X), np.array(X, dtype=object), tuple(X), series.astype("string")):
        assert (fitted.predict_proba(given) == probs).all()
        assert fitted.predict(given).tolist() == fitted.classes_[probs.argmax(axis=1)].tolist()
    assert fitted.score(series, Y) == accuracy_score(Y, fitted.predict(X)) > 0.8
    reasons = fitted.explain(X[:3], mode="decision")
    # another batch is another order of sums
    np.testing.assert_allclose([row.probs["sun"] for row in reasons], probs[:3, 1], rtol=0, atol=1e-6)
    assert all(row.explanation is not None and row.mode == "decision" for row in reasons)


def test_its_probabilities_are_those_of_train_on_the_same_rows(fitted, tmp_path):
    """The same settings through the configuration file, the command's own stage and `Classifier`."""
    config = load_config(fitted.run_ / "config.yaml", [f"output={tmp_path / 'run'}", "data.split.test=0"])
    lines = [
        {"id": str(at), "text": row.document, "label": row.label, "explanation": row.explanation, "group": str(at // 2)}
        for at, row in enumerate(ROWS)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    columns = config.data.columns.model_copy(update={"question": None})
    data = config.data.model_copy(update={"train": str(tmp_path / "mine.jsonl"), "columns": columns})
    save_config(config.model_copy(update={"data": data}), tmp_path / "run.yaml")
    train_run(load_config(tmp_path / "run.yaml"))
    trained = Classifier.from_pretrained(tmp_path / "run")
    assert trained.labels == tuple(fitted.classes_)
    assert (trained.predict_proba(X) == fitted.predict_proba(X)).all()
    assert (tmp_path / "run/model/head.safetensors").read_bytes() == (
        fitted.run_ / "model/head.safetensors"
    ).read_bytes()


def test_the_threshold_of_the_model_decides_and_not_the_likeliest_label():
    made = ClsgenClassifier(SETTINGS, train__max_steps=1, calibrate__threshold="sensitivity=0.95").fit(X, Y)
    threshold = made.classifier().bundle.rule.threshold
    probs = made.predict_proba(X)
    expected = np.where(probs[:, 1] >= threshold, "sun", "rain")
    assert (expected != made.classes_[probs.argmax(axis=1)]).any(), threshold
    assert made.predict(X).tolist() == expected.tolist()
    assert made.score(X, Y) == accuracy_score(Y, expected)


def test_groups_of_examples_tie_rows_and_missing_ones_do_not():
    notes = [Example(str(at), text, groups=(f"patient:{at // 4}",)) for at, text in enumerate(X)]
    pairs = [f"ward {at // 2}" if at < 40 else (None if at % 2 else float("nan")) for at in range(len(X))]

    def component_of(texts: list[Any], groups: list[Any] | None) -> list[str]:
        made = ClsgenClassifier(SETTINGS, train__max_steps=1).fit(texts, Y, groups=groups)
        folder = RunFolder(made.run_)
        roles = ("train", "validation", "calibration")
        found = {row.id: folder.groups()[row.id] for role in roles for row in folder.rows(role)}
        return [found[str(at)] for at in range(len(X))]

    assert len(set(component_of(notes, None))) == 30
    assert len(set(component_of(X, pairs))) == 20 + 80
    across = [str((at + 2) // 4) for at in range(len(X))]  # each ties the end of a patient to the begin of the next
    assert len(set(component_of(notes[:8] + list(X[8:]), across[:10] + [None] * 110))) == 1 + 110


def test_the_roles_are_carved_by_group_and_there_is_no_test_role(fitted):
    folder = RunFolder(fitted.run_)
    sizes = {role: len(folder.rows(role)) for role in ("train", "validation", "calibration", "test")}
    assert sum(sizes.values()) == 120
    assert sizes["test"] == 0
    assert min(sizes["validation"], sizes["calibration"]) > 5
    of_role = [{row.groups[0] for row in folder.rows(role)} for role in ("train", "validation", "calibration")]
    assert sum(map(len, of_role)) == len(set.union(*of_role)) == 60
    assert all(row.groups == (f"group:{GROUPS[int(row.id)]}",) for row in folder.rows("calibration"))
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in [fitted.run_.parent / "rows.jsonl"])


def test_without_explanations_the_class_head_alone_is_trained_or_quotes_are_taken():
    bare = ClsgenClassifier(SETTINGS, train__max_steps=2).fit(X, Y)
    with pytest.raises(ConfigError, match="explain must be none"):
        bare.explain(X[:1])
    quoted = ClsgenClassifier(SETTINGS, train__max_steps=2, data__explanations="extractive").fit(X, Y)
    assert quoted.explain(X[:1])[0].explanation is not None
    rows = RunFolder(quoted.run_).rows("train")
    assert sum(row.explanation is not None for row in rows) > len(rows) / 2


def test_explanations_that_would_not_be_used_are_refused():
    with pytest.raises(ConfigError, match="column or extractive where fit is given explanations; got 'none'"):
        ClsgenClassifier(SETTINGS, data__explanations="none").fit(X, Y, explanations=REASONS)


def test_some_explanations_may_be_missing():
    some = [reason if index % 3 else (None if index % 2 else float("nan")) for index, reason in enumerate(REASONS)]
    made = ClsgenClassifier(SETTINGS, train__max_steps=2).fit(X, Y, explanations=some)
    found = {row.id: row.explanation for row in RunFolder(made.run_).rows("train")}
    assert found
    assert all(found[name] == (REASONS[int(name)] if int(name) % 3 else None) for name in found)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 1]),
        [7, -3],
        [True, False],
        np.array([True, False]),
        ["no", "yes"],
        [("a", 1), ("b", 2)],
        [0.0, 1.0],
        pd.Series(["no", "yes"], dtype="category"),
        [1, "one"],
    ],
    ids=str,
)
def test_labels_come_back_as_they_were_given(labels):
    values = list(labels)
    found = classes_of([values[index % 2] for index in range(6)])
    back = found.values[found.indices]
    assert [back[index] for index in range(6)] == [values[index % 2] for index in range(6)]
    if isinstance(labels, np.ndarray):
        assert back.dtype == labels.dtype
    else:
        assert {type(each) for each in back.tolist()} == {type(each) for each in values}
    assert len(set(found.names)) == 2


def test_a_model_of_whole_numbers_predicts_whole_numbers():
    numbers = np.array([10 if label == "rain" else 9 for label in Y])  # as texts they are the other way round
    made = ClsgenClassifier(SETTINGS, train__max_steps=60).fit(X, numbers, explanations=REASONS)
    assert made.classes_.tolist() == [9, 10]
    assert made.predict(X).dtype == numbers.dtype
    assert made.score(X, numbers) > 0.8
    assert made.classifier().spec.positive == "10"
    assert (made.predict_proba(X)[:, 1].argsort()[60:] % 2 == 0).mean() > 0.8  # even rows are rain


def test_more_than_two_classes_are_columns_in_the_order_of_the_labels():
    labels = [("rain", "sun", "storm")[at % 3] for at in range(len(X))]
    texts = [f"Note {at}: it was {label}." for at, label in enumerate(labels)]
    reasons = [f"The note says {label}." for label in labels]
    made = ClsgenClassifier(SETTINGS, train__max_steps=150).fit(texts, labels, explanations=reasons)
    assert made.classes_.tolist() == ["rain", "storm", "sun"] == list(made.classifier().labels)
    probs = made.predict_proba(texts)
    assert made.predict(texts).tolist() == made.classes_[probs.argmax(axis=1)].tolist()
    assert made.score(texts, labels) > 0.8


def test_a_fit_that_fails_leaves_no_temporary_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ConfigError):
        ClsgenClassifier(SETTINGS, train__max_steps="many").fit(X, Y)
    assert list(tmp_path.iterdir()) == []
    made = ClsgenClassifier(SETTINGS, train__max_steps=1).fit(X, Y)
    assert [folder.stat().st_mode & 0o777 for folder in tmp_path.iterdir()] == [0o700]
    assert made.run_.parent.parent == tmp_path


def test_examples_keep_their_question(fitted):
    asked = [Example(str(at), row.document, f"Is it wet on day {at}?") for at, row in enumerate(ROWS)]
    made = ClsgenClassifier(SETTINGS, train__max_steps=2).fit(asked, Y)
    assert {row.question for row in RunFolder(made.run_).rows("train")} <= {row.question for row in asked}
    assert (made.predict_proba(asked) != made.predict_proba(X)).any()


# ---- scikit-learn's tools ----


def test_cross_validation_grid_search_pipelines_and_frozen_calibration(fitted):
    quick = ClsgenClassifier(SETTINGS)
    scores = cross_val_score(quick, pd.Series(X), pd.Series(Y), cv=2)
    assert scores.shape == (2,)
    assert scores.min() > 0.7
    found = cross_validate(
        quick, X, Y, cv=GroupKFold(2), groups=GROUPS, params={"explanations": REASONS, "groups": GROUPS},
        return_estimator=True,
    )  # fmt: skip
    for made in found["estimator"]:
        assert made.explain(X[:1])[0].explanation is not None
        assert all(row.groups for row in RunFolder(made.run_).rows("train"))
    pipeline = Pipeline([("lower", FunctionTransformer(lambda texts: [text.lower() for text in texts])), ("m", quick)])
    grid = {"m__train__max_steps": np.array([1, 30]), "m__calibrate__method": ["temperature"]}
    search = GridSearchCV(pipeline, grid, cv=2, scoring="neg_log_loss").fit(np.array(X), Y)
    assert search.best_params_["m__train__max_steps"] == 30
    best = search.best_estimator_["m"]
    assert load_config(best.run_ / "config.yaml").train.max_steps == 30
    assert load_config(best.run_ / "config.yaml").calibrate.method == "temperature"
    frozen = CalibratedClassifierCV(FrozenEstimator(fitted), method="sigmoid").fit(X, Y)
    assert frozen.predict_proba(X[:5]).shape == (5, 2)
    assert frozen.score(X, Y) > 0.8


@pytest.mark.slow
def test_parallel_workers_hand_back_fitted_models():
    code = (
        "import test_sklearn as t\nfrom sklearn.model_selection import cross_validate\n"
        "found = cross_validate(t.ClsgenClassifier(t.SETTINGS), t.X, t.Y, cv=2, n_jobs=2, return_estimator=True)\n"
        "print([made.predict_proba(t.X[:3]).shape for made in found['estimator']])"
    )
    folder = Path(__file__).parent
    places = {"PYTHONPATH": os.pathsep.join([str(folder), str(folder.parent)])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ | places
    )
    assert done.stdout.strip().endswith("[(3, 2), (3, 2)]"), done.stderr[-2000:]


def test_a_pickle_holds_the_path_of_the_run_and_predicts_in_another_process(fitted, tmp_path):
    content = pickle.dumps(fitted)
    assert len(content) < 4000
    (tmp_path / "model.pickle").write_bytes(content)
    code = (
        "import pickle, sys; made = pickle.load(open(sys.argv[1], 'rb')); print(repr(made.predict_proba(['A dry day.'])"
        ".tolist()), made.classes_.tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model.pickle"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"{fitted.predict_proba(['A dry day.']).tolist()!r} ['rain', 'sun']"


def test_a_temporary_run_goes_with_its_classifier_unless_it_was_pickled():
    made = ClsgenClassifier(SETTINGS, train__max_steps=1).fit(X, Y)
    first = made.run_
    assert first.is_dir()
    assert not (first / "checkpoints").exists()
    made.fit(X, Y)
    assert not first.exists()
    second = made.run_
    copied = pickle.loads(pickle.dumps(made))
    del made
    gc.collect()
    assert (copied.predict_proba(X[:2]) >= 0).all()
    third = clone(copied).fit(X, Y)
    run = third.run_
    del third
    gc.collect()
    assert second.exists()
    assert not run.exists()


def test_a_run_that_has_gone_is_told():
    made = ClsgenClassifier(SETTINGS, train__max_steps=1).fit(X, Y)
    copied = pickle.loads(pickle.dumps(made))
    module.shutil.rmtree(made.run_)
    with pytest.raises(ArtifactError, match="which is gone. Give output= before fitting"):
        copied.predict(X)


def test_a_run_that_was_moved_is_found_where_it_is_said_to_be(fitted, tmp_path):
    copied = pickle.loads(pickle.dumps(fitted))
    copied.run_ = Path(shutil.copytree(fitted.run_, tmp_path / "elsewhere"))
    assert (copied.predict_proba(X[:3]) == fitted.predict_proba(X[:3])).all()


# ---- settings ----


def test_settings_are_parameters_by_their_paths(tmp_path):
    made = ClsgenClassifier(SETTINGS, train__learning_rate=1e-3)
    assert made.get_params()["train__learning_rate"] == 1e-3
    made.set_params(model__lora__rank=8, output=str(tmp_path))
    copied = clone(made)
    assert copied.get_params() == made.get_params()
    assert copied.get_params()["model__lora__rank"] == 8
    assert "train__learning_rate=0.001" in repr(made)


def test_a_file_and_a_configuration_are_taken_as_they_are(tmp_path, fitted):
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps({**SETTINGS, "data": {"instruction": "Wet or dry?"}}))
    made = ClsgenClassifier(str(file), train__max_steps=1).fit(X, Y)
    assert made.classifier().spec.instruction == "Wet or dry?"
    again = ClsgenClassifier(load_config(fitted.run_ / "config.yaml"), train__max_steps=1).fit(X, Y)
    assert load_config(again.run_ / "config.yaml").train.learning_rate == 1e-2


def test_it_starts_from_the_embedded_base():
    made = ClsgenClassifier()
    config = made._config(classes_of(Y), Path("somewhere"), None)
    assert (config.model.backbone, config.model.tuning) == ("embedded", "lora")
    assert (config.calibrate.threshold, config.data.split.test) == ("half", 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train__lerning_rate", "Did you mean 'train__learning_rate'"),
        ("learning_rate", "Did you mean 'train__learning_rate'"),
        ("data__train", "Rows and folders are given to fit"),
        ("data__columns__text", "Rows and folders are given to fit"),
    ],
)
def test_an_unknown_setting_is_refused_at_once(name, message):
    with pytest.raises(ConfigError, match=message):
        ClsgenClassifier(**{name: 1})
    made = ClsgenClassifier()
    with pytest.raises(ConfigError, match=message):
        made.set_params(output="elsewhere", **{name: 1})
    assert made.output is None


@pytest.mark.parametrize(
    ("texts", "labels", "given", "message"),
    [
        ("one text", ["a"], {}, "must be a list of texts; got one string"),
        (pd.DataFrame({"t": X}), Y, {}, "pick the column"),
        (np.array([X]).T, Y, {}, "must be a list of texts"),
        ([1, *X[1:]], Y, {}, "text 0 must be a string"),
        ([" ", *X[1:]], Y, {}, "a document must not be empty"),
        ([], [], {}, "0 samples"),
        (X, Y[:-1], {}, "inconsistent numbers of samples"),
        (X, Y, {"explanations": REASONS[:-1]}, "inconsistent numbers of samples"),
        (X, Y, {"groups": GROUPS[:-1]}, "inconsistent numbers of samples"),
        (X, None, {}, "the target y is None"),
        (X, [None, *Y[1:]], {}, "every label must be there"),
        (X, pd.Series([None, *([0, 1] * 60)[1:]], dtype="Int64"), {}, "every label must be there"),
        (X, [np.array([1]), np.array([2])] * 60, {}, "labels must be hashable"),
        (X, [1.5] * 60 + [0.25] * 60, {}, "Unknown label type: continuous"),
        (X, ["a"] * 120, {}, "got 1 class"),
        (X, ["a", " "] * 60, {}, "not blank"),
        (X, [1, "1"] * 60, {}, "must be written differently"),
        (X, [["a"], ["b"]] * 60, {}, "labels must be hashable"),
        (X, ["a"] * 118 + ["b"] * 2, {}, "each with components of its own"),
    ],
)
def test_rows_that_can_not_be_used_are_refused(texts, labels, given, message):
    with pytest.raises((ClsgenError, ValueError), match=message):
        ClsgenClassifier(SETTINGS).fit(texts, labels, **given)


def test_labels_that_the_settings_do_not_know_are_refused():
    with pytest.raises(ConfigError, match="must be the labels of y"):
        ClsgenClassifier({**SETTINGS, "data": {"labels": ["rain", "snow"]}}).fit(X, Y)
    with pytest.raises(ConfigError, match=r"train\.max_steps must be a whole number"):
        ClsgenClassifier(SETTINGS, train__max_steps="many").fit(X, Y)
    with pytest.raises(ConfigError, match="a setting must be text, a number, a list or None"):
        ClsgenClassifier(SETTINGS, train__max_steps=object()).fit(X, Y)
    with pytest.raises(ConfigError, match="config must be a file, a configuration, a mapping or None; got a int"):
        ClsgenClassifier(3).fit(X, Y)


def test_it_must_be_fitted_first():
    with pytest.raises(NotFittedError):
        ClsgenClassifier().predict(X)
    with pytest.raises(DataError, match="pick the column"):
        ClsgenClassifier(SETTINGS).fit(pd.DataFrame({"t": X}), Y)


# ---- scikit-learn's own checks ----


class Numbers(ClsgenClassifier):
    """Rows of numbers written out as texts: scikit-learn's checks know no others.

    With its true tags (`one_d_array`, `string`) check_estimator runs nothing at all. Whatever a check says of the
    number of features is this adapter's answer; the rest is the classifier's.
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array = False, True
        tags.classifier_tags.poor_score = True  # two steps of a model with one layer
        return tags

    def fit(self, X, y=None, explanations=None, groups=None):
        return super().fit(self._written(X, reset=True), y, explanations, groups)

    def predict(self, X):
        return super().predict(self._written(X))

    def predict_proba(self, X):
        return super().predict_proba(self._written(X))

    def _written(self, X, reset=False):
        if not reset:
            module.check_is_fitted(self)
        return [" ".join(f"{value:.2f}" for value in row) for row in validate_data(self, X, reset=reset)]


EXPECTED_FAILURES = {
    "check_do_not_raise_errors_in_init_or_set_params": "**settings is no parameter called `settings`, and a name that "
    "is no setting is refused at once, as Python refuses an unknown keyword",
}


def test_its_own_tags_say_texts_so_that_scikit_learn_checks_nothing_by_itself():
    tags = ClsgenClassifier().__sklearn_tags__()
    assert (tags.input_tags.string, tags.input_tags.one_d_array, tags.input_tags.two_d_array) == (True, True, False)
    with pytest.warns(Warning, match="Can't test estimator ClsgenClassifier"):
        assert len(check_estimator(ClsgenClassifier(), on_skip=None)) == 1


@pytest.mark.slow
def test_scikit_learns_checks_pass_on_numbers_written_as_texts(monkeypatch):
    """Every check that check_estimator has for classifiers, some 50, each of which trains."""
    changes = {"max_steps": 2, "explanation_weight": 0}
    small = {**SETTINGS, "train": {**SETTINGS["train"], **changes}}
    monkeypatch.setattr(module, "_nested", lambda config: json.loads(json.dumps(small)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(Numbers(), expected_failed_checks=EXPECTED_FAILURES, on_fail=None, on_skip=None)
    by_status = {
        status: {found["check_name"] for found in results if found["status"] == status}
        for status in ("passed", "xfail", "failed", "skipped")
    }
    assert not by_status["failed"], [(each["check_name"], each["exception"]) for each in results if each["exception"]]
    assert by_status["xfail"] == set(EXPECTED_FAILURES)
    assert by_status["skipped"] == {"check_array_api_input"}  # needs SCIPY_ARRAY_API
    assert len(by_status["passed"]) > 40
