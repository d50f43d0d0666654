"""clsgen data check: tables, no text of restricted data, exit 1 on leaks."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from clsgen.cli.data import app
from clsgen.errors import ConfigError, DataError

COLUMNS = ["--text", "note", "--label", "outcome", "--group", "patient"]


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def _write(path: Path, *, planted: str = "", num_rows: int = 500, first: int = 0) -> str:
    draw = random.Random(first)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["note", "outcome", "patient"])
        for number in range(first, first + num_rows):
            label = "[yes]" if draw.random() < 0.4 else "no"
            words = " ".join(f"w{int(500 * draw.random() ** 3)}" for _ in range(30))
            writer.writerow([f"{words} {planted if label == '[yes]' else ''}", label, f"p{number}"])
    return str(path)


def _check(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments], catch_exceptions=False)


def test_clean_data_pass(tmp_path: Path) -> None:
    result = _check("--train", _write(tmp_path / "notes.csv"), *COLUMNS)
    assert result.exit_code == 0
    assert "Rows by role" in result.stdout
    assert "[yes]" in result.stdout
    assert all(role in result.stdout for role in ("train", "validation", "calibration", "test"))
    assert "no group, no document, no near-duplicate" in result.stdout
    assert "No leaks found." in result.stdout


def test_a_planted_outcome_exits_1_and_can_be_accepted(tmp_path: Path) -> None:
    train = _write(tmp_path / "notes.csv", planted="Expired")
    result = _check("--train", train, *COLUMNS)
    assert result.exit_code == 1
    assert "expired" in result.stdout
    assert "LEAK: a word that 100% of the '[yes]' documents hold gives that label away." in result.stdout
    accepted = _check("--train", train, *COLUMNS, "--accept", "Expired")
    assert accepted.exit_code == 0
    assert "warning" in accepted.stdout


def test_restricted_words_are_printed_only_when_asked_for(tmp_path: Path) -> None:
    train = _write(tmp_path / "notes.csv", planted="Expired")
    result = _check("--train", train, *COLUMNS, "--restricted")
    assert result.exit_code == 1
    assert "expired" not in result.stdout
    assert "(hidden)" in result.stdout
    assert "expired" in _check("--train", train, *COLUMNS, "--restricted", "--show-text").stdout


def test_a_held_out_file_that_shares_patients_exits_1_and_is_counted(tmp_path: Path) -> None:
    train = _write(tmp_path / "a.csv")
    test = _write(tmp_path / "b.csv", first=480, num_rows=80)
    result = _check("--train", train, "--test", test, *COLUMNS)
    assert result.exit_code == 1
    assert "train / test" in result.stdout
    assert "25.0%" in result.stdout
    assert "LEAK: 20 test rows lie in 20 components that train has rows of." in result.stdout


def test_dropped_rows_are_shown(tmp_path: Path) -> None:
    train = _write(tmp_path / "notes.csv")
    with (tmp_path / "notes.csv").open("a") as stream:
        stream.write(" ,no,p9\n")
    assert "Dropped: 1 rows (empty_text)" in _check("--train", train, *COLUMNS).stdout


def test_a_run_file_with_overrides(tmp_path: Path) -> None:
    train = _write(tmp_path / "notes.csv")
    path = tmp_path / "run.yaml"
    path.write_text(
        f"data:\n  train: {train}\n  columns: {{text: [note], label: outcome, group: [patient]}}\n"
        "model: {init: scratch, tuning: full}\n"
    )
    assert "No leaks found." in _check(str(path), "data.split.num_folds=4").stdout


def test_users_mistakes_are_left_to_the_entry_point(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rows must come from a YAML file or --train, one of the two"):
        _check()
    with pytest.raises(DataError, match=r"data\.columns\.text must be a column of the data; got 'text'"):
        _check("--train", _write(tmp_path / "notes.csv"))
