"""The client of a stock server: what it sends, what it reads, and what it says when it can't."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from clsgen.clients import FoldedEndpoint
from clsgen.errors import ClientError
from stock_server import serving


def client(url: str, **changes: Any) -> FoldedEndpoint:
    return FoldedEndpoint(url, "m", (7, 9), ("<|a|>", "<|b|>"), **changes)


def completion(logprobs: Any, text: str = " so it is", reason: str = "stop") -> dict[str, Any]:
    return {"choices": [{"text": text, "finish_reason": reason, "logprobs": logprobs}]}


@pytest.mark.parametrize(
    "logprobs",
    [
        {"top_logprobs": [{"token_id:9": -1.5, "token_id:7": -0.5, " x": -9}, {}]},
        {"top_logprobs": [{"<|b|>": -1.5, "<|a|>": -0.5, " x": -9}]},
        {"content": [{"top_logprobs": [{"id": 9, "logprob": -1.5}, {"id": 7, "logprob": -0.5}]}]},
    ],
    ids=["by id", "by text", "llama.cpp"],
)
def test_class_logprobs_are_read_in_the_order_of_the_labels(logprobs: Any) -> None:
    with serving(lambda body: completion(logprobs)) as url, closing(client(url)) as asked:
        assert asked.read([1, 2]) == (-0.5, -1.5)
        assert asked.read_and_write([1, 2], max_tokens=5) == ((-0.5, -1.5), " so it is", True)


def test_what_is_sent() -> None:
    bodies: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> Any:
        bodies.append(body)
        return completion({"top_logprobs": [{"token_id:9": 0.0, "token_id:7": -3}]}, reason="length")

    with serving(answer) as url, closing(client(url + "/", num_logprobs=12)) as asked:
        assert not asked.read_and_write([1, 2, 3], max_tokens=40, banned_ids=[5]).has_ended
        asked.go_on([1, 2, 3, 4], max_tokens=30)
        asked.read([1, 2, 3])
    first, second, third = bodies
    assert first["prompt"] == [1, 2, 3]
    assert (first["max_tokens"], first["temperature"], first["logprobs"]) == (40, 0, 12)
    assert first["logit_bias"] == {"7": -100, "9": -100, "5": -100}
    assert second["logit_bias"] == {"7": -100, "9": -100}
    assert "logprobs" not in second
    assert (third["max_tokens"], third["logit_bias"]) == (1, {})  # nothing is written, so nothing need be banned


def test_a_class_that_is_not_told_is_an_error_and_no_zero() -> None:
    told = completion({"top_logprobs": [{"token_id:9": -0.1, " x": -3}]})
    with serving(lambda body: told) as url, closing(client(url)) as asked:
        assert asked.read_and_write([1], max_tokens=9).class_logprobs == ()
    with serving(lambda body: told) as url, closing(client(url)) as asked, pytest.raises(ClientError, match="1 are"):
        asked.read([1])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (completion(None), "log-probabilities"),
        ({"error": "x"}, "must be a completion"),
        ((200, {}, "<html>"), "with JSON"),
        ((404, {}, "no model m"), "404: 'no model m'"),
        ((400, {}, "logprobs too many"), "400"),
        (completion({"top_logprobs": [{"token_id:9": "abc"}]}), "must hold log-probabilities"),
        (completion({"top_logprobs": [{"token_id:9": 3.0, "token_id:7": -1}]}), "no logarithm of a probability"),
        (completion({"top_logprobs": [{"token_id:9": None}]}), "must hold log-probabilities"),
        (completion({"top_logprobs": [[-1.0]]}), "must hold log-probabilities"),
        (completion({"top_logprobs": [{}]}, text=None), "must be a completion"),  # type: ignore[arg-type]
    ],
    ids=[
        "no logprobs",
        "another object",
        "no JSON",
        "not found",
        "refused",
        "word",
        "above 1",
        "null",
        "list",
        "no text",
    ],
)
def test_an_answer_of_no_use_says_what_it_was(answer: Any, words: str) -> None:
    with serving(lambda body: answer) as url, closing(client(url)) as asked, pytest.raises(ClientError, match=words):
        asked.read([1])


def answers(*given: Any) -> Any:
    left: Iterator[Any] = iter(given)
    return lambda body: next(left)


def test_a_busy_server_is_asked_again_and_its_wait_kept() -> None:
    good = completion({"top_logprobs": [{"token_id:9": -1.0, "token_id:7": -2.0}]})
    busy = (429, {"Retry-After": "0"}, "busy")
    with serving(answers(busy, (503, {}, "loading"), good)) as url, closing(client(url)) as asked:
        assert asked.read([1]) == (-2.0, -1.0)


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsgen.clients.time.sleep", lambda seconds: None)
    with serving(lambda body: {}) as url:
        pass
    with closing(client(url)) as asked, pytest.raises(ClientError, match="must be reachable"):
        asked.read([1])


def test_the_key_is_sent_and_shown_nowhere() -> None:
    assert "secret" not in repr(client("http://localhost:1/v1", api_key="secret"))
