from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from clsgen.llm.chat import ChatRequest
from clsgen.llm.failures import Asked, read_refusal, read_retry_after

ASKED = Asked(
    "teacher",
    ChatRequest((("user", "The patient, 81 years old,\nwas sent home with oxygen."),)),
    "sk-secret",
    1.0,
    is_restricted=False,
)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"error": {"message": "no such model"}}, "no such model"),
        ({"error": "no such model"}, "no such model"),
        ({"object": "error", "message": "no such model"}, "no such model"),
        ({"detail": "no such model"}, "no such model"),
        ({"detail": [{"loc": ["model"]}]}, '[{"loc": ["model"]}]'),
        ("no\n such   model", "no such model"),
        ("", "no message"),
        (None, "null"),
        ("x" * 1000, "x" * 300),
        ("key sk-secret is wrong", "key *** is wrong"),
        ("\x1b[31mno such\x07 model", "?[31mno such? model"),
    ],
)
def test_the_servers_message_is_one_line(body: object, line: str) -> None:
    assert read_refusal(body, ASKED) == line


@pytest.mark.parametrize(
    "body",
    [
        {"detail": [{"input": "The patient, 81 years old,\nwas sent home with oxygen."}]},
        "bad token at: old, was sent home with oxy",
    ],
)
def test_a_message_that_repeats_the_request_is_withheld(body: object) -> None:
    assert read_refusal(body, ASKED) == "a message that repeats the request, and is left out here"


@pytest.mark.parametrize("body", ["JANE DOE, 81", {"detail": "\\u0416"}, "Doe", "no such model"])
def test_of_restricted_texts_no_word_of_the_servers_is_passed_on(body: object) -> None:
    message = read_refusal(body, ASKED._replace(is_restricted=True))
    assert message == "a message that is left out here, as texts are restricted"


def test_a_word_in_common_is_no_repetition() -> None:
    assert read_refusal("the patient is not a role", ASKED) == "the patient is not a role"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Sat, 01 Jan 2000 00:01:30 GMT", "date": "Sat, 01 Jan 2000 00:00:00 GMT"}, 90.0),
        ({"retry-after": "Sat, 01 Jan 2000 00:00:00 GMT"}, 0.0),
    ],
)
def test_how_long_the_server_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers) == seconds


def test_a_date_is_counted_from_now_where_the_server_does_not_tell_the_time() -> None:
    seconds = read_retry_after({"retry-after": formatdate(time.time() + 100, usegmt=True)})
    assert seconds is not None
    assert 90 < seconds <= 100
