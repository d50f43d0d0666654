from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from clsgen.config.data import DataSettings
from clsgen.errors import DataError
from clsgen.tasks.clinifact import load

PROXY_WORDS = ("0.0123", "ANCOVA-PROXY")


def published_row(index: int, code: str, kind: str = "Superiority") -> dict[str, Any]:
    return {
        "nctId": f"NCT{index}",
        "outcome_type": "PRIMARY",
        "outcome_title": "Pain",
        "outcome_timeFrame": "Week 4",
        "intervention_group_title": "Drug",
        "comparator_group_title": "Placebo",
        "PMID": str(index),
        "label": code,
        "pValues": f"['{PROXY_WORDS[0]}']",
        "statisticalMethods": f"['{PROXY_WORDS[1]}']",
        "nonInferiorityTypes": f"['{kind}']",
        "index": str(index),
        "article_title": f"Trial {index}",
        "article_abstract": "BACKGROUND: A.\nRESULTS: B.",
    }


def line(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"clinifact-{row['index']}",
        "nct_id": row["nctId"],
        "pmid": row["PMID"],
        "claim": "Drug is superior to Placebo in terms of Pain Week 4",
        "title": row["article_title"],
        "abstract": row["article_abstract"],
        "label": {"0": "FALSE", "1": "TRUE", "2": "NONE"}[row["label"]],
        "p_values": row["pValues"],
        "statistical_methods": row["statisticalMethods"],
        "hypothesis_type": row["nonInferiorityTypes"],
    }


ROLES = {
    "train": [published_row(1, "1"), published_row(2, "0"), published_row(3, "2")],
    "validation": [published_row(4, "2")],
}


def write_published(folder: Path, roles: dict[str, list[dict[str, Any]]]) -> None:
    folder.mkdir(parents=True)
    for role, rows in roles.items():
        with (folder / f"{role}_set.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def write_lines(folder: Path, roles: dict[str, list[dict[str, Any]]]) -> None:
    folder.mkdir(parents=True)
    for role, rows in roles.items():
        with gzip.open(folder / f"{role}.jsonl.gz", "wt", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def clone(tmp_path: Path) -> str:
    write_published(tmp_path / "clone/data/processed/primary_outcome_publication_dataset", ROLES)
    return str(tmp_path / "clone")


def test_the_published_tables_read_as_title_abstract_and_claim(clone: str) -> None:
    data = load(DataSettings(task="clinifact", root=clone))
    assert [row.label for row in data.train] == ["TRUE", "FALSE", "NONE"]
    assert [row.id for row in data.test] == ["clinifact-4"]
    first = data.train[0]
    assert first.document == "Trial 1\n\nBACKGROUND: A.\nRESULTS: B."
    assert first.question == "Drug is superior to Placebo in terms of Pain Week 4"
    assert first.groups == ("nct_id:NCT1", "pmid:1")


def test_both_layouts_give_the_same_task(clone: str, tmp_path: Path) -> None:
    write_lines(tmp_path / "data/clinifact", {role: [line(row) for row in rows] for role, rows in ROLES.items()})
    lines = load(DataSettings(task="clinifact", root=str(tmp_path / "data")))
    assert lines == load(DataSettings(task="clinifact", root=clone))


def test_no_proxy_reaches_a_row(clone: str) -> None:
    data = load(DataSettings(task="clinifact", root=clone))
    assert {"p_values", "statistical_methods", "hypothesis_type"} <= set(data.spec.proxies)
    assert not any(word in repr(row) for row in (*data.train, *data.test) for word in PROXY_WORDS)


def test_binary_puts_true_against_the_rest(clone: str) -> None:
    data = load(DataSettings(task="clinifact", root=clone, variant="binary"))
    assert data.spec.labels == ("NOT_TRUE", "TRUE")
    assert data.spec.positive == "TRUE"
    assert [row.label for row in data.train] == ["TRUE", "NOT_TRUE", "NOT_TRUE"]


def test_decided_drops_and_counts_the_undecided(clone: str) -> None:
    data = load(DataSettings(task="clinifact", root=clone, variant="decided"))
    assert [row.label for row in data.train] == ["TRUE", "FALSE"]
    assert (data.test, data.dropped) == ((), {"label_NONE": 2})


def test_a_row_without_text_is_dropped_and_counted(tmp_path: Path) -> None:
    empty = published_row(9, "1") | {"article_title": "", "article_abstract": " "}
    write_published(tmp_path / "clinifact", {**ROLES, "train": [*ROLES["train"], empty]})
    data = load(DataSettings(task="clinifact", root=str(tmp_path)))
    assert (len(data.train), data.dropped) == (3, {"empty_text": 1})


@pytest.mark.parametrize(("code", "kind"), [("3", "Superiority"), ("1", "Other")])
def test_an_unknown_code_is_refused_with_its_line(code: str, kind: str, tmp_path: Path) -> None:
    write_published(tmp_path / "clinifact", {**ROLES, "train": [published_row(9, code, kind)]})
    with pytest.raises(DataError, match=r"train_set.csv:2: label must be one of"):
        load(DataSettings(task="clinifact", root=str(tmp_path)))


def test_the_development_data_has_the_counts_of_its_page(shared_data: Path) -> None:
    root = str(shared_data)
    data = load(DataSettings(task="clinifact", root=root))
    assert Counter(row.label for row in data.train) == {"TRUE": 366, "FALSE": 262, "NONE": 632}
    assert Counter(row.label for row in data.test) == {"TRUE": 83, "FALSE": 67, "NONE": 166}
    assert load(DataSettings(task="clinifact", root=root, variant="decided")).dropped == {"label_NONE": 632 + 166}


def test_published_rows_rebuild_the_claims_of_the_development_data(shared_data: Path) -> None:
    kinds = {"superior": 0, "superior or other": 0, "non-inferior": 0, "non-inferior or equivalent": 0, "equivalent": 0}
    for row in load(DataSettings(task="clinifact", root=str(shared_data))).train:
        found = [kind for kind in kinds if f" is {kind} to " in row.question]
        assert found, "a claim of no known kind"
        kinds[found[0]] += 1
    assert all(kinds.values())
