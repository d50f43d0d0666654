"""`StockClassifier` on a stock server of the folded directory, against `Classifier` on the run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from clsgen import Classifier, Prediction, StockClassifier
from clsgen.artifacts import write_manifest
from clsgen.clients import FoldedEndpoint
from clsgen.data.predictions import read_predictions
from clsgen.data.source import write_examples
from clsgen.errors import ArtifactError, ClientError, ConfigError, DataError, RestrictedError, TemplateError
from clsgen.export.record import FoldedRecord
from clsgen.pipeline.export import export_run
from conftest import Ran
from stock_server import DIALECTS, Stock, serving

ROWS = tiny.examples(10)


@pytest.fixture(scope="module")
def folded(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_run(learned, "folded", tmp_path_factory.mktemp("folded") / "weather").folder


@pytest.fixture(scope="module")
def native(learned: Path) -> Classifier:
    return Classifier.from_pretrained(learned)


@pytest.fixture(params=DIALECTS)
def served(request: pytest.FixtureRequest, folded: Path) -> Iterator[tuple[Stock, StockClassifier]]:
    stock = Stock(folded, request.param, max_logprobs=20)
    with serving(stock.complete) as url, StockClassifier(folded, url, concurrency=3) as classifier:
        yield stock, classifier


def plain(row: Prediction) -> dict[str, Any]:
    """Everything but numbers."""
    found = {name: getattr(row, name) for name in row.__dataclass_fields__}
    return {name: value for name, value in found.items() if name not in ("probs", "logits")}


def same(found: list[Prediction], wanted: list[Prediction]) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        assert dict(ours.probs) == pytest.approx(dict(theirs.probs), abs=1e-5)
        assert plain(ours) == plain(theirs)


def test_probability_and_free_reason_from_one_request(
    served: tuple[Stock, StockClassifier], native: Classifier
) -> None:
    stock, classifier = served
    found = classifier.predict(ROWS, explain="all")
    wanted = native.predict(ROWS, explain="all")
    if (
        stock.dialect == "after the ban"
    ):  # a server that hides the classes then: found out, and asked twice from there on
        assert 2 * len(ROWS) < len(stock.asked) <= 3 * len(ROWS)
    else:
        assert len(stock.asked) == len(ROWS)
    assert wanted[0].explanation
    assert wanted[0].stated_label == "rain"
    same(found, wanted)


def test_decision_mode_takes_two_requests(served: tuple[Stock, StockClassifier], native: Classifier) -> None:
    stock, classifier = served
    same(classifier.predict(ROWS, explain="all", mode="decision"), native.predict(ROWS, explain="all", mode="decision"))
    assert len(stock.asked) == 2 * len(ROWS)


@pytest.mark.parametrize("explain", ["none", "positive", "uncertain"])
def test_reasons_for_some_rows(explain: Any, served: tuple[Stock, StockClassifier], native: Classifier) -> None:
    stock, classifier = served
    wanted = native.predict(ROWS, explain=explain)
    same(classifier.predict(ROWS, explain=explain), wanted)
    assert len(stock.asked) == len(ROWS) + sum(row.explanation is not None for row in wanted)


def test_the_class_ids_are_told_however_few_alternatives_there_are(folded: Path, native: Classifier) -> None:
    with serving(Stock(folded, "ids", max_logprobs=2).complete) as url, StockClassifier(folded, url) as classifier:
        same(classifier.predict(ROWS), native.predict(ROWS))
    few = Stock(folded, "ids", max_logprobs=1)
    with serving(few.complete) as url, StockClassifier(folded, url) as classifier, pytest.raises(ClientError) as told:
        classifier.predict(ROWS)
    assert "the 1 alternatives told; 1 are" in str(told.value)


def test_texts_are_checked_before_anything_is_asked(folded: Path) -> None:
    classifier = StockClassifier(folded, "http://127.0.0.1:9/v1")
    for texts, words in (("one text", "must be a list"), (["a", " "], "must not be empty")):
        with pytest.raises(DataError, match=words):
            classifier.predict(texts)  # type: ignore[arg-type]


def test_restricted_texts_stay_here(folded: Path, tmp_path: Path) -> None:
    shutil.copytree(folded, tmp_path / "m")
    record = FoldedRecord.load(tmp_path / "m")
    replace(record, spec=replace(record.spec, is_restricted=True)).save(tmp_path / "m")
    write_manifest(tmp_path / "m")
    with pytest.raises(RestrictedError, match="this machine"):
        StockClassifier(tmp_path / "m", "http://models.example.org/v1")
    with (
        closing(FoldedEndpoint("http://models.example.org/v1", "m", record.class_ids, record.class_tokens)) as there,
        pytest.raises(RestrictedError, match="this machine"),
    ):
        StockClassifier(tmp_path / "m", there)
    StockClassifier(tmp_path / "m", "http://127.0.0.1:8000/v1")


def test_what_answers_may_be_given_in_the_place_of_an_address(folded: Path, native: Classifier) -> None:
    record = FoldedRecord.load(folded)
    with serving(Stock(folded, "ids", max_logprobs=20).complete) as url:
        endpoint = FoldedEndpoint(url, "m", record.class_ids, record.class_tokens)
        with StockClassifier(folded, endpoint) as classifier:
            same(classifier.predict(ROWS, explain="all"), native.predict(ROWS, explain="all"))


def test_a_folder_that_is_no_folded_model(learned: Path, folded: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"folded\.json"):
        StockClassifier(learned / "model", "http://127.0.0.1:1/v1")
    shutil.copytree(folded, tmp_path / "m")
    record = json.loads((tmp_path / "m" / "folded.json").read_text())
    record["template"]["between"] += " Really?"
    (tmp_path / "m" / "folded.json").write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match="altered"):
        StockClassifier(tmp_path / "m", "http://127.0.0.1:1/v1")
    write_manifest(tmp_path / "m")
    with pytest.raises(TemplateError, match="golden"):
        StockClassifier(tmp_path / "m", "http://127.0.0.1:1/v1")


def test_a_model_without_reasons_gives_none(folded: Path, tmp_path: Path) -> None:
    shutil.copytree(folded, tmp_path / "m")
    replace(FoldedRecord.load(tmp_path / "m"), has_explanations=False).save(tmp_path / "m")
    write_manifest(tmp_path / "m")
    with pytest.raises(ConfigError, match="explain must be none"):
        StockClassifier(tmp_path / "m", "http://127.0.0.1:1/v1").predict(["a text"], explain="all")


def test_predict_sends_a_file_to_the_server(
    folded: Path, native: Classifier, tmp_path: Path, command: Callable[..., Ran]
) -> None:
    write_examples(tmp_path / "rows.jsonl", ROWS, is_restricted=False)
    out = tmp_path / "out.jsonl"
    with serving(Stock(folded, "ids", max_logprobs=20).complete) as url:
        options = (
            "-m",
            folded,
            "-o",
            out,
            "--text",
            "document",
            "--id",
            "id",
            "--engine",
            "openai",
            "--explain",
            "all",
        )
        ran = command("predict", tmp_path / "rows.jsonl", *options, "--endpoint", url, "--served-name", "weather")
    assert ran.code == 0, ran.err
    found = [replace(row, group=None) for row in read_predictions(out)]
    same(found, native.predict(ROWS, explain="all"))


def test_predict_without_an_address(folded: Path, tmp_path: Path, command: Callable[..., Ran]) -> None:
    for options, words in (
        (("--engine", "openai"), "--endpoint http"),
        (("--endpoint", "http://localhost:1/v1"), "goes with --engine openai"),
    ):
        ran = command("predict", "rows.jsonl", "-m", folded, "-o", tmp_path / "o.jsonl", *options)
        assert ran.code != 0
        assert words in " ".join(ran.err.split())


def test_a_prior_is_applied(folded: Path, native: Classifier) -> None:
    with serving(Stock(folded, "ids", max_logprobs=20).complete) as url, StockClassifier(folded, url) as classifier:
        same(classifier.predict(ROWS, prior=[0.9, 0.1]), native.predict(ROWS, prior=[0.9, 0.1]))
