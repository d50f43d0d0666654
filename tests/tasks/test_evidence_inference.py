from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from clsgen.config.data import DataSettings
from clsgen.errors import DataError
from clsgen.tasks.evidence_inference import load


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"ei-{number}",
        "pmcid": str(number),
        "pmid": str(number),
        "title": "A trial",
        "prompt": "With respect to pain, how does a drug compare with placebo?",
        "abstract": "Pain fell with the drug (p < 0.05).",
        "evidence_context": "POINTS AT THE ANSWER",
        "label": "significantly decreased",
        "explanation": "Pain fell with the drug",
        "rationales": ["Pain fell with the drug"],
        "rationale_in_abstract": True,
        "label_votes": {"significantly decreased": 2},
    } | changes


def write(folder: Path, train: list[dict[str, Any]], test: list[dict[str, Any]]) -> DataSettings:
    folder.mkdir(exist_ok=True)
    for name, rows in (("train", train), ("validation", test)):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as stream:
            stream.writelines(json.dumps(cells) + "\n" for cells in rows)
    return DataSettings(task="evidence_inference", root=str(folder))


def test_the_input_is_title_and_abstract(tmp_path: Path) -> None:
    data = load(write(tmp_path, [row(1)], [row(2, pmid=None)]))
    first = data.train[0]
    assert first.document == "A trial\n\nPain fell with the drug (p < 0.05)."
    assert first.question == "With respect to pain, how does a drug compare with placebo?"
    assert first.groups == ("pmcid:1", "pmid:1")
    assert data.test[0].groups == ("pmcid:2",)
    assert "POINTS" not in repr(data.train + data.test)


def test_a_rationale_from_outside_the_abstract_is_no_explanation(tmp_path: Path) -> None:
    data = load(write(tmp_path, [row(1), row(2, rationale_in_abstract=False)], [row(3)]))
    assert [example.explanation for example in data.train] == ["Pain fell with the drug", None]


def test_rows_without_abstract_are_dropped_and_counted(tmp_path: Path) -> None:
    data = load(write(tmp_path, [row(1), row(2, abstract="")], [row(3, abstract=None), row(4)]))
    assert (len(data.train), len(data.test), data.dropped) == (1, 1, {"no_abstract": 2})


def test_an_unknown_label_is_refused_with_its_line(tmp_path: Path) -> None:
    settings = write(tmp_path, [row(1), row(2, label="better")], [row(3)])
    with pytest.raises(DataError, match=r"train.jsonl.gz:2: label must be one of"):
        load(settings)


def test_the_development_data_has_the_counts_of_its_page(shared_data: Path) -> None:
    data = load(DataSettings(task="evidence_inference", root=str(shared_data)))
    assert len(data.train) + len(data.test) + data.dropped["no_abstract"] == 1992 + 235
    assert sum(example.explanation is not None for example in data.train) == 889
    assert sum(example.explanation is not None for example in data.test) == 113
    assert Counter(example.label for example in data.train).keys() == set(data.spec.labels)
