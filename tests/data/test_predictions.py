from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsgen.data.predictions import from_record, read_predictions, to_record
from clsgen.errors import DataError
from clsgen.types import Prediction

FULL = Prediction(
    id="a",
    probs={"no": 0.25, "yes": 0.75},
    logits=(-0.5, 0.6),
    decision="yes",
    threshold=0.4,
    num_document_tokens_cut=3,
    mode="free",
    explanation="Because of the é.",
    stated_label="no",
    has_ended=True,
    agreement=False,
    label="yes",
    group="trial:1",
    question="Is it so?",
)
RECORD = {"id": "a", "probs": {"no": 0.25, "yes": 0.75}, "decision": "yes"}


def test_a_full_prediction_survives_the_way_through_json():
    record = json.loads(json.dumps(to_record(FULL), allow_nan=False))
    assert set(record) == {field.name for field in fields(Prediction)}
    assert from_record(record, "x:1") == FULL


@given(st.floats(0, 1), st.floats(-1e6, 1e6))
def test_numbers_come_back_bit_for_bit(prob, logit):
    given_prediction = replace(FULL, probs={"no": 1 - prob, "yes": prob}, logits=(logit, -logit))
    assert from_record(json.loads(json.dumps(to_record(given_prediction))), "x:1") == given_prediction


def test_what_is_absent_takes_the_default():
    prediction = from_record(RECORD, "x:1")
    assert prediction == Prediction("a", {"no": 0.25, "yes": 0.75}, (), "yes")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probs": {"no": 0.25, "yes": float("nan")}}, r"probs\['yes'\] must be a number from 0 to 1; got nan"),
        ({"probs": {"no": -0.25, "yes": 1.25}}, r"probs\['no'\] must be a number from 0 to 1; got -0.25"),
        ({"probs": {"no": None, "yes": 1.0}}, r"probs\['no'\] must be a number from 0 to 1; got None"),
        ({"probs": {"no": True, "yes": 0.0}}, r"probs\['no'\] must be a number from 0 to 1; got True"),
        ({"probs": {"no": 0.5, "yes": 0.6}}, r"probs must add up to 1; got 1.1"),
        ({"probs": {"yes": 1.0}}, r"probs must hold two labels or more; got \['yes'\]"),
        ({"probs": [0.5, 0.5]}, r"probs must be dict; got \[0.5, 0.5\]"),
        ({"logits": [1.0]}, r"logits must be 2 finite numbers, or absent; got \[1.0\]"),
        ({"logits": [1.0, float("inf")]}, r"logits must be 2 finite numbers, or absent; got \[1.0, inf\]"),
        ({"id": 7}, r"id must be str; got 7"),
        ({"decision": "maybe"}, r"decision must be one of \['no', 'yes'\]; got 'maybe'"),
        ({"decision": None}, r"decision must be str; got None"),
        ({"stated_label": "maybe"}, r"stated_label must be one of \['no', 'yes'\]; got 'maybe'"),
        ({"label": "YES"}, r"label must be one of \['no', 'yes'\]; got 'YES'"),
        ({"threshold": 1.5}, r"threshold must be from 0 to 1, or null; got 1.5"),
        ({"threshold": "0.5"}, r"threshold must be int or float or null; got '0.5'"),
        ({"num_document_tokens_cut": -1}, r"num_document_tokens_cut must be at least 0; got -1"),
        ({"num_document_tokens_cut": True}, r"num_document_tokens_cut must be int; got True"),
        ({"mode": "loose"}, r"mode must be 'free', 'decision' or null; got 'loose'"),
        ({"explanation": "so"}, r"mode and has_ended must be given where an explanation is; got None and None"),
        ({"has_ended": 1}, r"has_ended must be bool or null; got 1"),
        ({"explanaton": "so"}, r"a field must be one of id, probs, .*; got 'explanaton'"),
    ],
)
def test_a_wrong_field_is_named_with_its_place(change, message):
    with pytest.raises(DataError, match=f"out.jsonl:3: {message}"):
        from_record({**RECORD, **change}, "out.jsonl:3")


@pytest.mark.parametrize("name", ["id", "probs", "decision"])
def test_a_missing_field_is_named(name):
    record = {key: value for key, value in RECORD.items() if key != name}
    with pytest.raises(DataError, match=rf"x:1: a prediction must have id, probs, decision; got none of \['{name}'\]"):
        from_record(record, "x:1")


def test_reading_keeps_the_order_of_the_file(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(json.dumps({**RECORD, "id": i}, ensure_ascii=False) + "\n" for i in ("b", "é", "a")))
    assert [prediction.id for prediction in read_predictions(path)] == ["b", "é", "a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": "a", "pro', r"the line must be one JSON object in UTF-8; got Unterminated"),
        (b"\xff\xfe", r"the line must be one JSON object in UTF-8; got 'utf-8' codec"),
        (b"", r"the line must be one JSON object in UTF-8; got Expecting value"),
        (b"[1]", r"a prediction must be a JSON object; got list"),
        (json.dumps(RECORD).encode(), r"id must occur once; got 'a', already in line 1"),
    ],
)
def test_a_broken_line_is_named_with_file_and_line(tmp_path, content, message):
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(json.dumps(RECORD).encode() + b"\n" + content + b"\n")
    with pytest.raises(DataError, match=rf"predictions.jsonl:2: {message}"):
        read_predictions(path)


def test_no_file_and_an_empty_file_are_errors(tmp_path):
    with pytest.raises(DataError, match=r"none.jsonl: predictions must be a readable file; got 'No such file"):
        read_predictions(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match=r"empty.jsonl: predictions must be at least one line"):
        read_predictions(tmp_path / "empty.jsonl")
