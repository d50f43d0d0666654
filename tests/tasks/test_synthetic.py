"""The generated task: truth of risk and labels, determinism, the LCD files, bad arguments."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from scipy.stats import chi2
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from clsgen.config.data import DataSettings
from clsgen.errors import ConfigError, DataError
from clsgen.tasks.synthetic import SPEC, generate_notes, load, write_lcd
from clsgen.types import Example


@pytest.fixture(scope="module")
def notes() -> list[Example]:
    return generate_notes(2000, length="short", prevalence=0.3, seed=0)


def _labels_and_risks(examples: list[Example]) -> tuple[np.ndarray, np.ndarray]:
    labels = np.array([example.label == "died" for example in examples], dtype=float)
    return labels, np.array([example.metadata["risk"] for example in examples])


def _bag_of_words_auroc(examples: list[Example]) -> float:
    """Out-of-fold AUROC of TF-IDF 1-2-grams with logistic regression, folds by patient."""
    labels, _ = _labels_and_risks(examples)
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), LogisticRegression(max_iter=2000)
    )
    groups = [example.groups[0] for example in examples]
    documents = [example.document for example in examples]
    probs = cross_val_predict(
        model, documents, labels, groups=groups, cv=GroupKFold(5), method="predict_proba", n_jobs=1
    )
    return float(roc_auc_score(labels, probs[:, 1]))


def test_labels_are_drawn_with_the_true_risk(notes):
    labels, risks = _labels_and_risks(notes)
    bins = np.array_split(np.argsort(risks), 10)
    statistic = sum(
        (labels[rows].sum() - risks[rows].sum()) ** 2 / (risks[rows] * (1 - risks[rows])).sum() for rows in bins
    )
    assert statistic < chi2.ppf(0.999, df=10)
    assert abs((labels - risks).sum()) < 3 * np.sqrt((risks * (1 - risks)).sum())


@pytest.mark.parametrize("prevalence", [0.03, 0.3, 0.6])
def test_mean_risk_is_the_prevalence(prevalence):
    examples = generate_notes(1500, length="short", prevalence=prevalence, seed=3)
    _, risks = _labels_and_risks(examples)
    by_patient: dict[str, float] = {}
    for example, risk in zip(examples, risks, strict=True):
        by_patient[example.groups[0]] = by_patient.get(example.groups[0], 0.0) + risk - prevalence
    error = np.sqrt(np.square(list(by_patient.values())).sum()) / len(risks)
    assert abs(risks.mean() - prevalence) < 3 * error


def test_true_risk_ranks_within_the_aim(notes):
    assert 0.85 <= roc_auc_score(*_labels_and_risks(notes)) <= 0.90


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bag_of_words_learns_some_and_not_all(seed):
    examples = generate_notes(2000, length="short", prevalence=0.3, seed=seed)
    auroc = _bag_of_words_auroc(examples)
    assert 0.65 <= auroc <= roc_auc_score(*_labels_and_risks(examples)) - 0.05


@pytest.mark.slow
def test_bag_of_words_on_long_notes():
    examples = generate_notes(1500, length="lcd", prevalence=0.3, seed=0)
    auroc = _bag_of_words_auroc(examples)
    assert 0.65 <= auroc <= roc_auc_score(*_labels_and_risks(examples)) - 0.05


@pytest.mark.slow
def test_rare_deaths_are_no_easier_to_rank():
    examples = generate_notes(10_000, length="short", prevalence=0.03, seed=0)
    oracle = roc_auc_score(*_labels_and_risks(examples))
    assert 0.85 <= oracle <= 0.90
    assert 0.65 <= _bag_of_words_auroc(examples) <= oracle - 0.05


@pytest.mark.slow
@pytest.mark.timed
def test_2000_short_notes_take_under_two_seconds_of_processor():
    seconds = []
    for seed in (1, 2):
        start = time.process_time()
        generate_notes(2000, length="short", prevalence=0.25, seed=seed)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 2.0


@pytest.mark.parametrize("length", ["short", "lcd"])
def test_a_row_depends_on_the_seed_and_not_on_the_number_of_rows(length):
    few = generate_notes(20, length=length, prevalence=0.3, seed=5)
    assert generate_notes(35, length=length, prevalence=0.3, seed=5)[:20] == few
    assert [example.document for example in generate_notes(20, length=length, prevalence=0.3, seed=6)] != [
        example.document for example in few
    ]


def test_rows_are_whole_and_hold_json_only(notes):
    assert len({example.id for example in notes}) == 2000
    assert len({example.groups for example in notes}) < 1900
    for example in notes:
        assert example.label in SPEC.labels
        assert example.question == ""
        assert json.loads(json.dumps(example.metadata)) == example.metadata
        assert set(example.metadata) == {"risk", "causes", "days_to_death", "sex"}
        assert (example.metadata["days_to_death"] <= 30) == (example.label == "died")


def test_load_reads_its_settings_and_holds_out_every_fifth_patient():
    settings = DataSettings(task="synthetic-notes", num_rows=200, prevalence=0.2, seed=9)
    data = load(settings)
    rows = generate_notes(200, length="short", prevalence=0.2, seed=9)
    assert sorted(example.id for example in (*data.train, *data.test)) == sorted(example.id for example in rows)
    train, test = ({group for example in part for group in example.groups} for part in (data.train, data.test))
    assert not train & test
    assert len(test) / (len(train) + len(test)) == pytest.approx(0.2, abs=0.01)
    assert data.spec is SPEC
    assert not data.spec.is_restricted
    assert data.spec.positive == "died"
    assert data.spec.proxies == ("days_to_death",)


def test_load_without_a_number_gives_2000_rows_and_long_notes_where_asked():
    data = load(DataSettings(task="synthetic-notes"))
    assert len(data.train) + len(data.test) == 2000
    long = load(DataSettings(task="synthetic-notes", num_rows=20, length="lcd"))
    assert min(len(example.document.split()) for example in long.train) > 1000


def test_load_refuses_another_task():
    with pytest.raises(ConfigError, match=r"synthetic: data.task must be 'synthetic-notes'; got 'lcd'"):
        load(DataSettings(task="lcd"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_rows": 0}, r"num_rows must be 1 or more; got 0"),
        ({"length": "long"}, r"length must be one of \('short', 'lcd'\); got 'long'"),
        ({"prevalence": 0.0}, r"prevalence must be from 0.001 to 0.99; got 0.0"),
        ({"seed": -1}, r"seed must be 0 or more; got -1"),
    ],
)
def test_generate_notes_refuses(changed, message):
    arguments = {"num_rows": 5, "length": "short", "prevalence": 0.3, "seed": 0} | changed
    with pytest.raises(DataError, match=f"generate_notes: {message}"):
        generate_notes(arguments.pop("num_rows"), **arguments)


def test_lcd_files_have_the_benchmarks_form(tmp_path, notes):
    paths = write_lcd(tmp_path / "lcd", notes[:300])
    assert [path.name for path in paths] == ["train.json", "dev.json", "test.json", "metadata.json"]
    subjects = json.loads(paths[3].read_text(encoding="utf-8"))
    seen: dict[str, set[int]] = {}
    num_rows = 0
    for path in paths[:3]:
        rows = json.loads(path.read_text(encoding="utf-8"))["data"]
        assert rows
        num_rows += len(rows)
        for row in rows:
            assert set(row) == {"id", "text", "out_hospital_mortality_30", "data_type"}
            assert row["data_type"] == path.stem == subjects[row["id"]]["data_type"]
            assert "\n" not in row["text"]
            assert '"' not in row["text"]
            assert " <cr> " in row["text"]
        seen[path.stem] = {subjects[row["id"]]["subject_id"] for row in rows}
    assert num_rows == len(subjects) == 300
    assert sum(map(len, seen.values())) == len(set().union(*seen.values()))
    assert seen["test"] == {
        10_000_000 + int(example.groups[0].removeprefix("patient:")) for example in notes[:300] if _is_fifth(example)
    }


def _is_fifth(example: Example) -> bool:
    return int(example.groups[0].removeprefix("patient:")) % 5 == 4


def test_outcomes_never_fall_with_the_horizon(tmp_path, notes):
    outcomes: dict[int, dict[str, int]] = {}
    for horizon in (30, 60, 90):
        paths = write_lcd(tmp_path / str(horizon), notes[:400], horizon_days=horizon)
        rows = [row for path in paths[:3] for row in json.loads(path.read_text(encoding="utf-8"))["data"]]
        outcomes[horizon] = {row["id"]: row[f"out_hospital_mortality_{horizon}"] for row in rows}
    assert all(outcomes[30][key] <= outcomes[60][key] <= outcomes[90][key] for key in outcomes[30])
    assert sum(outcomes[30].values()) == sum(example.label == "died" for example in notes[:400])
    assert sum(outcomes[30].values()) < sum(outcomes[60].values()) < sum(outcomes[90].values())


def test_write_lcd_refuses_another_horizon_and_foreign_rows(tmp_path, notes):
    with pytest.raises(DataError, match=r"write_lcd: horizon_days must be one of \(30, 60, 90\); got 45"):
        write_lcd(tmp_path, notes[:3], horizon_days=45)
    with pytest.raises(DataError, match=r"example 'x' must be made by generate_notes; got groups \(\)"):
        write_lcd(tmp_path, [Example(id="x", document="text")])
