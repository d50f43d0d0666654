from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from clsgen.llm.answers import expected_tokens, read_reply, split_thinking, worst_tokens
from clsgen.llm.chat import ChatReply, ChatRequest
from clsgen.llm.limits import Tokens

REQUEST = ChatRequest((("system", "a" * 40), ("user", "b" * 59)), max_tokens=30)  # with the line break, 100 bytes


def completed(content: Any, *, usage: Any = None, **message: Any) -> SimpleNamespace:
    choice = SimpleNamespace(message=SimpleNamespace(content=content, **message), finish_reason="stop")
    return SimpleNamespace(choices=[choice], usage=usage, model="served")


@pytest.mark.parametrize(
    ("content", "thought", "answer"),
    [
        ("Four.", None, "Four."),
        ("  as it stands ", None, "  as it stands "),
        ("<think>2 + 2</think>\n\nFour.", "2 + 2", "Four."),
        ("<think>\n\n</think>Four.", "\n\n", "Four."),
        ("2 + 2</think>Four.", "2 + 2", "Four."),  # the template opened it
        ("<think>a</think>No.<think>b</think>Yes.", "aNo.b", "Yes."),
        ("<think>a<think>b</think>c</think>Yes.", "abc", "Yes."),
        ("<think>2 +", "2 +", ""),
        ("<think>a</think>No.<think>b", "aNo.b", ""),
        ("<think>2 + 2</think>", "2 + 2", ""),
        ("a < b, I think > c", None, "a < b, I think > c"),
    ],
)
def test_thinking_is_no_part_of_the_answer(content: str, thought: str | None, answer: str) -> None:
    assert split_thinking(content) == (thought, answer)


def test_a_reply_has_what_the_server_counted() -> None:
    usage = SimpleNamespace(prompt_tokens=11, completion_tokens=7)
    assert read_reply(completed("Yes.", usage=usage), REQUEST, "m") == ChatReply("Yes.", None, "stop", 11, 7, "served")


@pytest.mark.parametrize("usage", [None, SimpleNamespace(prompt_tokens=0, completion_tokens=None), SimpleNamespace()])
def test_tokens_that_the_server_did_not_count_are_four_bytes_each(usage: Any) -> None:
    reply = read_reply(completed("\u00e9" * 5, usage=usage), REQUEST, "m")  # 10 bytes
    assert (reply.prompt_tokens, reply.completion_tokens) == (25, 3)


def test_what_was_thought_counts_and_nothing_counts_one() -> None:
    assert read_reply(completed("1234", reasoning_content="5678"), REQUEST, "m").completion_tokens == 2
    empty = ChatRequest((("user", ""),))
    reply = read_reply(completed(None), empty, "m")
    assert (reply.content, reply.reasoning) == ("", None)
    assert (reply.prompt_tokens, reply.completion_tokens) == (1, 1)


def test_the_field_of_the_reasoning_and_the_block_are_joined() -> None:
    reply = read_reply(completed("<think>b</think>Yes.", reasoning_content=None, reasoning="a\n"), REQUEST, "m")
    assert (reply.content, reply.reasoning) == ("Yes.", "a\nb")


def test_what_no_file_or_database_can_hold_is_made_whole() -> None:
    answer = completed("so it is \ud83d", usage=SimpleNamespace(prompt_tokens=10**30, completion_tokens=3))
    answer.model, answer.choices[0].finish_reason = {"a": 1}, ["stop"]
    reply = read_reply(answer, REQUEST, "m")
    assert (reply.content, reply.model, reply.finish_reason) == ("so it is \ufffd", "m", "unknown")
    assert reply.prompt_tokens == 25  # estimated


def test_names_that_are_missing() -> None:
    answer = completed("Yes.")
    answer.model, answer.choices[0].finish_reason = None, None
    reply = read_reply(answer, REQUEST, "m")
    assert (reply.model, reply.finish_reason) == ("m", "unknown")


@pytest.mark.parametrize("answer", ["<html>", None, SimpleNamespace(choices=None), SimpleNamespace(choices=[])])
def test_no_choices(answer: Any) -> None:
    with pytest.raises(ValueError, match="^an answer without choices$"):
        read_reply(answer, REQUEST, "m")


@pytest.mark.parametrize(
    "answer", [SimpleNamespace(choices=[SimpleNamespace(message=None)]), completed([{"text": "a"}])]
)
def test_no_words(answer: Any) -> None:
    with pytest.raises(ValueError, match="^a choice without a message in words$"):
        read_reply(answer, REQUEST, "m")


def test_tokens_of_a_request() -> None:
    assert expected_tokens(REQUEST) == 25 + 30
    assert worst_tokens(REQUEST) == Tokens(100 + 256, 30)
    with_schema = ChatRequest(REQUEST.messages, max_tokens=30, schema={"type": "object"})
    assert worst_tokens(with_schema) == Tokens(100 + len('{"type": "object"}') + 256, 30)
