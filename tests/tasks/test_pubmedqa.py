from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from clsgen.config.data import DataSettings
from clsgen.errors import DataError
from clsgen.tasks.pubmedqa import load


def published(**changes: Any) -> dict[str, Any]:
    return {
        "QUESTION": "Does it help?",
        "CONTEXTS": ["We asked.", "We saw."],
        "LABELS": ["AIM", "RESULTS"],
        "LONG_ANSWER": "It seems to help.",
        "final_decision": "yes",
        "reasoning_required_pred": "maybe",
    } | changes


def write_published(folder: Path, rows: Any, test_ids: list[str] | None = None) -> DataSettings:
    (folder / "data").mkdir()
    (folder / "data/ori_pqal.json").write_text(json.dumps(rows), encoding="utf-8")
    if test_ids is not None:
        (folder / "data/test_ground_truth.json").write_text(json.dumps(dict.fromkeys(test_ids, "yes")))
    return DataSettings(task="pubmedqa", root=str(folder))


def test_the_conclusion_is_the_explanation_and_not_the_document(tmp_path: Path) -> None:
    data = load(write_published(tmp_path, {"1": published(), "2": published(final_decision="no")}, ["2"]))
    (train,), (test,) = data.train, data.test
    assert train.document == "AIM: We asked. RESULTS: We saw."
    assert train.question == "Does it help?"
    assert train.explanation == "It seems to help."
    assert (train.id, train.groups, train.label, test.label) == ("pmid-1", ("pmid:1",), "yes", "no")


def test_without_the_test_ids_every_row_is_in_the_train_pool(tmp_path: Path) -> None:
    data = load(write_published(tmp_path, {"1": published(), "2": published()}))
    assert (len(data.train), data.test) == (2, ())


def test_both_layouts_give_the_same_task(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.mkdir()
    for name, pmid in (("train", "1"), ("validation", "2")):
        cells = {
            "id": f"pmid-{pmid}",
            "pmid": pmid,
            "question": "Does it help?",
            "context": "AIM: We asked. RESULTS: We saw.",
            "label": "yes",
            "explanation": "It seems to help.",
        }
        with gzip.open(lines / f"{name}.jsonl.gz", "wt", encoding="utf-8") as stream:
            stream.write(json.dumps(cells))
    settings = write_published(tmp_path, {"1": published(), "2": published()}, ["2"])
    assert load(settings) == load(DataSettings(task="pubmedqa", root=str(lines)))


def test_rows_without_context_are_dropped_and_counted(tmp_path: Path) -> None:
    data = load(write_published(tmp_path, {"1": published(CONTEXTS=[], LABELS=[]), "2": published()}))
    assert (len(data.train), data.dropped) == (1, {"empty_text": 1})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([1], "must hold one JSON object; got a list"),
        ({"1": "x"}, "row 1: row must be an object; got a str"),
        ({"1": published(LABELS=["AIM"])}, "row 1: CONTEXTS and LABELS must be lists of one length"),
        ({"1": published(final_decision="perhaps")}, "row 1: label must be one of"),
    ],
)
def test_other_files_are_refused(rows: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load(write_published(tmp_path, rows))


def test_the_development_data_has_the_counts_of_its_page(shared_data: Path) -> None:
    data = load(DataSettings(task="pubmedqa", root=str(shared_data)))
    assert Counter(row.label for row in data.train) == {"yes": 250, "no": 150, "maybe": 50}
    assert len(data.test) == 50
    rows = (*data.train, *data.test)
    assert all(row.explanation for row in rows)
    assert not any(row.explanation and row.explanation in row.document for row in rows)
