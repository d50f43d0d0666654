from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from clsgen.config.data import DataSettings
from clsgen.errors import DataError
from clsgen.tasks.esnli import load

COLUMNS = {
    "s1": ["A dog runs . ", "A dog runs . ", "A man sits . "],
    "s2": ["An animal moves . ", "A cat runs . ", "He is tired . "],
    "labels": ["entailment", "contradiction", "neutral"],
    "preproc1_expl_1": ["A dog is an animal .", "A dog is no cat .", "Sitting is not being tired ."],
}


def write_columns(folder: Path, part: str, columns: dict[str, list[str]]) -> DataSettings:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in columns.items():
        (folder / f"{name}.{part}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return DataSettings(task="esnli", root=str(folder))


def test_the_published_columns_read_as_premise_and_hypothesis(tmp_path: Path) -> None:
    data = load(write_columns(tmp_path, "dev", COLUMNS))
    assert [row.label for row in data.train] == COLUMNS["labels"]
    first = data.train[0]
    assert (first.id, first.document, first.question) == ("esnli-dev-0", "A dog runs .", "An animal moves .")
    assert first.explanation == "A dog is an animal ."
    assert data.test == ()


def test_rows_of_one_premise_are_one_group(tmp_path: Path) -> None:
    first, second, third = load(write_columns(tmp_path, "dev", COLUMNS)).train
    assert first.groups == second.groups != third.groups


def test_published_test_files_are_the_test_role(tmp_path: Path) -> None:
    write_columns(tmp_path / "dataset/eSNLI", "dev", COLUMNS)
    write_columns(tmp_path / "dataset/eSNLI", "test", {name: lines[:2] for name, lines in COLUMNS.items()})
    data = load(DataSettings(task="esnli", root=str(tmp_path)))
    assert [row.id for row in data.test] == ["esnli-test-0", "esnli-test-1"]


def test_lines_are_read_and_empty_premises_counted(tmp_path: Path) -> None:
    for name, premise in (("train", "A dog runs."), ("validation", "")):
        cells = {"id": name, "premise": premise, "hypothesis": "h", "label": "neutral", "explanation": "e"}
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as stream:
            stream.write(json.dumps(cells))
    data = load(DataSettings(task="esnli", root=str(tmp_path)))
    assert (len(data.train), len(data.test), data.dropped) == (1, 0, {"empty_text": 1})


def test_files_of_unequal_length_are_refused(tmp_path: Path) -> None:
    settings = write_columns(tmp_path, "dev", {**COLUMNS, "s2": ["An animal moves ."]})
    with pytest.raises(DataError, match=r"must have as many lines as each other; got \[3, 1, 3, 3\]"):
        load(settings)


def test_an_unknown_label_is_refused_with_its_line(tmp_path: Path) -> None:
    settings = write_columns(tmp_path, "dev", {**COLUMNS, "labels": ["entailment", "-", "neutral"]})
    with pytest.raises(DataError, match=r"labels.dev:2: label must be one of"):
        load(settings)


def test_the_development_data_has_the_counts_of_its_page(shared_data: Path) -> None:
    data = load(DataSettings(task="esnli", root=str(shared_data)))
    assert (len(data.train), len(data.test)) == (8843, 993)
    assert all(row.explanation for row in (*data.train, *data.test))
