"""From runs to a study, and from its answers to a table, figures and a section of the report."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from clsgen.errors import ArtifactError, ConfigError
from clsgen.pipeline.review import StudySettings, analyze_study, answers_of, create_study, export_answers
from clsgen.serve.review.store import AnswerStore
from clsgen.serve.review.study import questions_of, read_keys, read_study
from studies import write_run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two models and three reviewers; whoever is asked gives the best answer to model a, and the worst to b."""
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", reason="Nothing speaks against it at all.")]
    settings = StudySettings(("ana", "ben", "cay"), num_rows=12, num_checks=2, seed=1, title="Toys")
    create_study(runs, tmp_path / "study", settings)
    return tmp_path / "study"


def answer(study: Path, reviewer: str, *, is_reading: bool = True) -> None:
    keys, _ = read_keys(study)
    store = AnswerStore(study / "answers.sqlite")
    for number, item in enumerate(read_study(study).items):
        models = keys[item.id].models
        if item.kind == "pair":
            given = {"preferred": ("first", "second")[models.index("a")]}
        elif item.kind == "check" and is_reading:
            given = {question.name: "no" for question in questions_of("check")}
        else:
            at = 0 if models == ("a",) else -1
            given = {question.name: question.choices[at] for question in questions_of(item.kind)}
        store.put(reviewer, item.id, given, "", 5.0 + number)


def test_figures_are_of_the_models_that_reviewers_could_not_see(study: Path) -> None:
    for name in ("ana", "ben"):
        answer(study, name)
    answer(study, "cay", is_reading=False)
    found = analyze_study(study, min_checks=1.0)
    assert json.loads((study / "review.json").read_text()) == found
    assert found["reviewers"]["cay"]["is_left_out"]
    assert [found["models"][name]["agrees"]["value"] for name in "ab"] == [1.0, 0.0]
    assert [found["models"][name]["harmful"]["value"] for name in "ab"] == [1.0, 0.0]
    assert found["agreement"]["agrees"]["fleiss"]["value"] == 1.0
    assert found["preference"][0]["net"]["value"] == 1.0
    assert found["preference"][0]["num_first"] == 24


def test_the_table_has_a_row_an_answer_and_no_formula(study: Path, tmp_path: Path) -> None:
    answer(study, "ana")
    item = read_study(study).items[0]
    AnswerStore(study / "answers.sqlite").put("ben", item.id, {}, '=HYPERLINK("x")\nand, more', 2.5)
    assert export_answers(study, tmp_path / "out.csv") == len(read_study(study).items) + 1
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    keys, _ = read_keys(study)
    for row in rows:
        key = keys[row["item"]]
        assert (row["row_id"], row["label"], row["stratum"]) == (key.row_id, key.label, key.stratum)
        assert tuple(filter(None, (row["model"], row["other_model"]))) == tuple(filter(None, key.models))
    (commented,) = (row for row in rows if row["reviewer"] == "ben")
    assert commented["comment"] == '\'=HYPERLINK("x")\nand, more'
    assert commented["seconds"] == "2.5"


def test_the_last_answer_counts_and_earlier_ones_stay(study: Path) -> None:
    import sqlite3

    item = next(item for item in read_study(study).items if item.kind == "rating")
    store = AnswerStore(study / "answers.sqlite")
    for choice in ("yes", "no", "unsure"):
        store.put("ana", item.id, {"agrees": choice}, "", 1.0)
    (found,) = answers_of(study)
    assert found.answer == {"agrees": "unsure"}
    assert not found.is_complete
    with sqlite3.connect(study / "answers.sqlite") as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (3,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()
    with pytest.raises(ArtifactError, match="must hold an answered item"):
        analyze_study(study)


def test_a_run_of_another_study_is_refused(study: Path, tmp_path: Path) -> None:
    answer(study, "ana")
    with pytest.raises(ArtifactError, match="must be what was reviewed"):
        analyze_study(study, runs=[write_run(tmp_path / "other", reason="Something else is said here.")])


def test_a_check_asks_for_what_passes_it(study: Path) -> None:
    (shown,) = {item.shown[0].reason for item in read_study(study).items if item.kind == "check"}
    assert "answer “no” to every question of this item, the one about the decision too" in shown
    answer(study, "ana")  # "no" throughout
    found = analyze_study(study, min_checks=1.0)["reviewers"]["ana"]
    assert (found["num_passed"], found["num_checks"], found["is_left_out"]) == (2, 2, False)


def test_checks_can_not_count_where_there_are_none(tmp_path: Path) -> None:
    create_study([write_run(tmp_path / "a")], tmp_path / "study", StudySettings(("ana",), num_rows=2, num_checks=0))
    answer(tmp_path / "study", "ana")
    with pytest.raises(ConfigError, match=r"min_checks must be 0, as .* has no checks; got 0\.5"):
        analyze_study(tmp_path / "study", min_checks=0.5)
    assert not analyze_study(tmp_path / "study")["reviewers"]["ana"]["is_left_out"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--checks", -1, "checks must be 0 or more"), ("--rows", 0, "rows must be 1 or more")],
)
def test_numbers_that_make_no_study_are_refused(
    tmp_path: Path, command: Any, option: str, value: int, message: str
) -> None:
    run = write_run(tmp_path / "a")
    made = command("review", "create", run, "--output", tmp_path / "s", "--reviewer", "ana", option, value)
    assert made.code == 2
    assert message in made.err
    assert "Traceback" not in made.err


def test_names_are_shown_as_they_are(tmp_path: Path, command: Any) -> None:
    run = write_run(tmp_path / "a[bold]")
    names = ("an[red]a", "[/b]ben")
    study = tmp_path / "s[i]"
    chosen = [part for name in names for part in ("--reviewer", name)]
    made = command("review", "create", run, "--output", study, *chosen, "--rows", 4, "--checks", 1)
    assert made.code == 0, made.err
    for name in names:
        assert f"  {name}: #" in made.out
        answer(study, name)
    assert f"Written: {study}\n" in made.out
    found = command("review", "analyze", study)
    assert found.code == 0, found.err
    for shown in (*names, "a[bold]: share of the best choice", str(study)):
        assert shown in found.out


def test_the_commands(study: Path, command: Any, tmp_path: Path) -> None:
    made = command(
        "review",
        "create",
        tmp_path / "a",
        "--output",
        tmp_path / "one",
        "--reviewer",
        "ana",
        "--rows",
        6,
        "--checks",
        1,
    )
    assert made.code == 0, made.err
    assert "ana: #" in made.out
    answer(study, "ana")
    answer(study, "ben")
    found = command("review", "analyze", study, "--run", tmp_path / "a")
    assert found.code == 0, found.err
    assert "a against b: preferred 24 to 0" in found.out
    assert json.loads((tmp_path / "a" / "review.json").read_text())["model"] == "a"
    exported = command("review", "export", study)
    assert exported.code == 0
    assert (study / "answers.csv").is_file()
    nothing = command("review", "analyze", tmp_path / "one")
    assert nothing.code == 2
    assert "must hold an answered item" in nothing.err
