"""The client against real servers on loopback."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
import traceback
from email.utils import formatdate
from typing import Any

import pytest

from chat_server import Answer, ChatServer, Script, completion, error
from clsgen.errors import BudgetError, ConfigError, RestrictedError, TeacherError
from clsgen.llm.answers import worst_tokens
from clsgen.llm.chat import Chat, ChatReply, ChatRequest
from clsgen.llm.client import OpenAIChat
from clsgen.llm.limits import Budget, Prices, RateLimit, Tokens
from clsgen.llm.settings import ChatSettings, Limits

SECRET_TEXT = "The patient, 81 years old, was sent home with oxygen and died in May."
REQUEST = ChatRequest((("system", "Be brief."), ("user", SECRET_TEXT)), max_tokens=50)
SCHEMA = {"type": "object", "properties": {"reason": {"type": "string"}}, "required": ["reason"]}
WITH_SCHEMA = ChatRequest(REQUEST.messages, schema=SCHEMA)
PATIENT = {"num_attempts": 3, "wait_initial_seconds": 0.01, "timeout_seconds": 20.0}

Result = ChatReply | BaseException


def ask(endpoint: str, *requests: ChatRequest, **options: Any) -> tuple[OpenAIChat, list[Result]]:
    """The client, closed, and what each of the requests gave; all are asked at once."""
    given = {**PATIENT, **options.pop("settings", {})}

    async def run() -> tuple[OpenAIChat, list[Result]]:
        async with OpenAIChat(endpoint, "asked-model", settings=ChatSettings(**given), **options) as chat:
            return chat, await asyncio.gather(*map(chat.ask, requests), return_exceptions=True)

    return asyncio.run(run())


def ask_one(endpoint: str, request: ChatRequest = REQUEST, **options: Any) -> ChatReply:
    _, (result,) = ask(endpoint, request, **options)
    if isinstance(result, BaseException):
        raise result
    return result


def always(*answers: Answer) -> Script:
    """The answers in order, the last one from then on."""
    return lambda _, number: answers[min(number, len(answers) - 1)]


# ---- what is sent and what comes back ----


def test_a_request_and_its_reply() -> None:
    with ChatServer(always(Answer(completion("Yes.", usage=(12, 3))))) as server:
        request = ChatRequest(REQUEST.messages, temperature=0.0, top_p=0.9, max_tokens=7, seed=5)
        reply = ask_one(server.endpoint, request, api_key="sk-secret", settings={"extra_body": {"min_p": 0.1}})
    assert reply == ChatReply("Yes.", None, "stop", 12, 3, "served-model")
    assert server.targets == ["/v1/chat/completions"]
    assert server.headers[0]["authorization"] == "Bearer sk-secret"
    assert server.bodies == [
        {
            "model": "asked-model",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": SECRET_TEXT}],
            "temperature": 0.0,
            "top_p": 0.9,
            "max_tokens": 7,
            "seed": 5,
            "min_p": 0.1,
        }
    ]


def test_what_is_left_to_the_server_is_not_sent() -> None:
    with ChatServer(always(Answer(completion("Yes.")))) as server:
        ask_one(server.endpoint, ChatRequest(REQUEST.messages, temperature=None, top_p=None, max_tokens=50))
    assert not {"temperature", "top_p", "seed"} & server.bodies[0].keys()


def test_no_seed_is_no_field_and_the_bound_has_the_servers_name() -> None:
    with ChatServer(always(Answer(completion("Yes.")))) as server:
        ask_one(server.endpoint, settings={"max_tokens_field": "max_completion_tokens"})
    assert "seed" not in server.bodies[0]
    assert "max_tokens" not in server.bodies[0]
    assert server.bodies[0]["max_completion_tokens"] == 50


def test_no_key_of_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-secret")
    with ChatServer(always(Answer(completion("Yes.")))) as server:
        ask_one(server.endpoint)
    assert "sk-secret" not in str(server.headers)


@pytest.mark.parametrize(
    "message",
    [
        {"content": "No.", "reasoning_content": "2 + 2"},
        {"content": "No.", "reasoning": "2 + 2"},
        {"content": "<think>2 + 2</think>No."},
    ],
)
def test_reasoning_is_told_apart(message: dict[str, str]) -> None:
    with ChatServer(always(Answer(completion(**message)))) as server:
        reply = ask_one(server.endpoint)
    assert (reply.content, reply.reasoning) == ("No.", "2 + 2")


def test_a_model_that_was_cut_off_while_it_thought_has_said_nothing() -> None:
    with ChatServer(always(Answer(completion("<think>2 +", finish_reason="length")))) as server:
        reply = ask_one(server.endpoint)
    assert (reply.content, reply.reasoning, reply.finish_reason) == ("", "2 +", "length")


def test_answers_without_a_usage_are_counted() -> None:
    with ChatServer(always(Answer(completion("Yes!", usage=None)), Answer(completion("Yes!")))) as server:
        chat, results = ask(server.endpoint, REQUEST, REQUEST, settings={"concurrency": 1})
    assert chat.num_estimated == 1
    assert sorted(each.completion_tokens for each in results if isinstance(each, ChatReply)) == [1, 5]


def test_the_client_is_a_chat() -> None:
    chat: Chat = OpenAIChat("http://localhost:1/v1", "m")
    assert chat.model == "m"


# ---- failures ----


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with ChatServer(always(Answer(error("busy"), status=status), Answer(completion("Yes.")))) as server:
        chat, (reply,) = ask(server.endpoint, REQUEST)
    assert isinstance(reply, ChatReply)
    assert (server.num_requests, chat.num_sent) == (2, 2)


@pytest.mark.parametrize(("status", "hint"), [(400, "Correct"), (401, "API key"), (403, "API key"), (404, "/v1")])
def test_what_stays_fails_at_once_in_the_servers_words(status: int, hint: str) -> None:
    with (
        ChatServer(always(Answer(error("wrong thing"), status=status))) as server,
        pytest.raises(
            TeacherError, match=rf"'asked-model' at 127.0.0.1: .* got HTTP {status}: wrong thing\. .*{hint}"
        ) as caught,
    ):
        ask_one(server.endpoint)
    assert server.num_requests == 1
    assert caught.value.reason == f"http_{status}"


def test_after_the_last_attempt_it_fails() -> None:
    with (
        ChatServer(always(Answer(error("busy"), status=503))) as server,
        pytest.raises(TeacherError, match=r"got HTTP 503: busy\. Try again later") as caught,
    ):
        ask_one(server.endpoint)
    assert server.num_requests == 3
    assert caught.value.reason == "http_503"


@pytest.mark.parametrize("status", [429, 503])
def test_the_server_says_how_many_seconds_to_wait(status: int) -> None:
    busy = Answer(error("busy"), status=status, headers={"Retry-After": "1"})
    with ChatServer(always(busy, Answer(completion("Yes.")))) as server:
        ask_one(server.endpoint)
    assert server.arrivals[1] - server.arrivals[0] >= 1.0


def test_the_server_says_until_when_to_wait() -> None:
    times: list[float] = []
    until = int(time.time()) + 2

    def script(body: dict[str, Any], number: int) -> Answer:
        times.append(time.time())
        headers = {"Retry-After": formatdate(until, usegmt=True)}
        return Answer(error("busy"), status=429, headers=headers) if number == 0 else Answer(completion("Yes."))

    with ChatServer(script) as server:
        ask_one(server.endpoint)
    assert times[1] >= until


def test_a_wait_that_is_too_long_is_no_wait() -> None:
    busy = Answer(error("quota"), status=429, headers={"Retry-After": "86400"})
    with ChatServer(always(busy)) as server, pytest.raises(TeacherError, match="HTTP 429: quota"):
        ask_one(server.endpoint)
    assert server.num_requests == 1


def test_an_answer_that_takes_too_long_is_tried_again() -> None:
    late = Answer(completion("Late."), delay_seconds=1.0)
    with ChatServer(always(late, Answer(completion("Yes.")))) as server:
        reply = ask_one(server.endpoint, settings={"timeout_seconds": 0.5})
    assert reply.content == "Yes."


def test_no_answer_in_time() -> None:
    with (
        ChatServer(always(Answer(completion("Late."), delay_seconds=0.4))) as server,
        pytest.raises(TeacherError, match=r"got no answer within 0.1 seconds\. Raise the timeout") as caught,
    ):
        ask_one(server.endpoint, settings={"timeout_seconds": 0.1, "num_attempts": 1})
    assert caught.value.reason == "timeout"


def test_an_answer_that_drips_is_not_waited_for() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n")
        try:
            for _ in range(100):  # never longer than 0.02 seconds between two bytes
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        settings = ChatSettings(num_attempts=1, timeout_seconds=0.2)
        async with server, OpenAIChat(f"http://127.0.0.1:{port}/v1", "m", settings=settings) as chat:
            await chat.ask(REQUEST)

    with pytest.raises(TeacherError, match="no answer within 0.2 seconds"):
        asyncio.run(run())


def test_a_connection_that_breaks_is_made_again() -> None:
    def script(body: dict[str, Any], number: int) -> Answer:
        if number == 0:
            raise ConnectionResetError
        return Answer(completion("Yes."))

    with ChatServer(script) as server:
        assert ask_one(server.endpoint).content == "Yes."


def test_no_server() -> None:
    with ChatServer(always()) as server:
        endpoint = server.endpoint
    budget, started = Budget(), time.monotonic()
    with pytest.raises(
        TeacherError, match=r"got no connection \(ConnectError\)\. Check that the server is up"
    ) as caught:
        ask_one(endpoint, limits=Limits(budget=budget), settings={"wait_initial_seconds": 20})
    assert time.monotonic() - started < 10  # nobody ever answered there, so nothing is waited for
    assert caught.value.reason == "connection"
    assert budget.spent == Tokens()


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (Answer("<html>Hello</html>", headers={"Content-Type": "text/html"}), "an answer without choices"),
        (Answer({"error": {"message": "busy"}}), "an answer without choices"),
        (Answer("{"), "an answer that can't be read"),
        (Answer("[1]"), "an answer"),
    ],
)
def test_an_answer_that_is_none(answer: Answer, got: str) -> None:
    with (
        ChatServer(always(answer)) as server,
        pytest.raises(TeacherError, match=f"got {got}.* Check that the endpoint is that of an") as caught,
    ):
        ask_one(server.endpoint)
    assert server.num_requests == 1
    assert caught.value.reason == "malformed"


# ---- a schema ----


def test_a_schema_is_sent_where_it_is_understood() -> None:
    with ChatServer(always(Answer(completion("{}")))) as server:
        chat, _ = ask(server.endpoint, WITH_SCHEMA, WITH_SCHEMA, REQUEST)
    sent = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
    assert sorted(str(body.get("response_format")) for body in server.bodies) == sorted(["None", str(sent), str(sent)])
    assert chat.is_structured is True


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_server_without_schemas_is_found_out_once(status: int) -> None:
    def script(body: dict[str, Any], number: int) -> Answer:
        return Answer(error("?"), status=status) if "response_format" in body else Answer(completion("Yes."))

    with ChatServer(script) as server:
        chat, results = ask(server.endpoint, *[WITH_SCHEMA] * 4)
    assert all(isinstance(each, ChatReply) for each in results)
    assert ["response_format" in body for body in server.bodies] == [True, False, False, False, False]
    assert chat.is_structured is False


def test_a_schema_is_not_blamed_for_what_fails_without_it() -> None:
    with ChatServer(always(Answer(error("too long"), status=400))) as server:
        chat, (failed,) = ask(server.endpoint, WITH_SCHEMA)
    assert isinstance(failed, TeacherError)
    assert failed.reason == "http_400"
    assert chat.is_structured is None
    assert server.num_requests == 2


def test_a_schema_that_was_understood_is_not_left_out_later() -> None:
    script = always(Answer(completion("{}")), Answer(error("too long"), status=400))
    with ChatServer(script) as server:
        chat, (_, failed) = ask(server.endpoint, WITH_SCHEMA, WITH_SCHEMA)
    assert isinstance(failed, TeacherError)
    assert chat.is_structured is True
    assert server.num_requests == 2


def test_other_failures_say_nothing_of_schemas() -> None:
    with ChatServer(always(Answer(error("no"), status=401))) as server:
        chat, (failed,) = ask(server.endpoint, WITH_SCHEMA)
    assert isinstance(failed, TeacherError)
    assert chat.is_structured is None
    assert server.num_requests == 1


# ---- limits ----


def test_as_many_at_a_time_as_allowed_and_no_more() -> None:
    together = threading.Barrier(3)

    def script(body: dict[str, Any], number: int) -> Answer:
        together.wait(timeout=20)
        return Answer(completion("Yes."))

    with ChatServer(script) as server:
        _, results = ask(server.endpoint, *[REQUEST] * 9, settings={"concurrency": 3})
    assert all(isinstance(each, ChatReply) for each in results)
    assert server.max_in_flight == 3


def test_every_attempt_counts_in_the_minute() -> None:
    slept: list[float] = []
    now = [0.0]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    rate = RateLimit(requests_per_minute=2, clock=lambda: now[0], sleep=sleep)
    with ChatServer(always(Answer(error("busy"), status=503), Answer(completion("Yes.")))) as server:
        ask(server.endpoint, REQUEST, REQUEST, limits=Limits(rate=rate), settings={"concurrency": 1})
    assert server.num_requests == 3
    assert sum(slept) == 60.0


def test_true_tokens_take_the_place_of_those_expected() -> None:
    async def sleep(seconds: float) -> None:
        raise AssertionError("two answers of 15 tokens fit into 120, though each may take 50 and reads about 20")

    rate = RateLimit(tokens_per_minute=120, sleep=sleep)
    with ChatServer(always(Answer(completion("Yes.", usage=(10, 5))))) as server:
        _, results = ask(server.endpoint, *[REQUEST] * 3, limits=Limits(rate=rate), settings={"concurrency": 1})
    assert all(isinstance(each, ChatReply) for each in results)


def test_the_budget_is_never_passed() -> None:
    worst = worst_tokens(REQUEST)
    assert worst == Tokens(len("Be brief.\n") + len(SECRET_TEXT) + 256, 50)
    budget = Budget(max_money=0.01, prices=Prices(10.0, 100.0))
    usage = (worst.prompt // 2, 50)  # each costs 0.0067 and may cost 0.0084: one fits
    with ChatServer(always(Answer(completion("Yes.", usage=usage)))) as server:
        _, results = ask(server.endpoint, *[REQUEST] * 5, limits=Limits(budget=budget))
    assert sorted(type(each).__name__ for each in results) == ["BudgetError"] * 4 + ["ChatReply"]
    assert server.num_requests == 1
    assert budget.spent == Tokens(*usage)
    assert budget.spent_money == pytest.approx((usage[0] * 10 + 50 * 100) / 1e6)


def test_requests_that_must_wait_for_the_budget_are_answered() -> None:
    total = worst_tokens(REQUEST).total
    budget = Budget(max_tokens=total + 60)  # one at a time, and five answers of 15 tokens leave room for the next
    with ChatServer(always(Answer(completion("Yes.", usage=(10, 5)), delay_seconds=0.02))) as server:
        _, results = ask(server.endpoint, *[REQUEST] * 6, limits=Limits(budget=budget))
    # 15 tokens each: after four of them 60 are spent and the fifth just fits; the sixth does not.
    assert sorted(type(each).__name__ for each in results) == ["BudgetError"] + ["ChatReply"] * 5
    assert server.max_in_flight == 1
    assert budget.spent.total == 75


@pytest.mark.parametrize(
    ("answer", "is_charged"),
    [
        (Answer(error("no"), status=400), False),
        (Answer(error("busy"), status=503), False),
        (Answer(error("late"), status=504), True),
        (Answer(completion("Late."), delay_seconds=1.0), True),
        (Answer({}), True),
    ],
)
def test_what_may_have_cost_something_is_charged(answer: Answer, *, is_charged: bool) -> None:
    budget = Budget()
    options = {"num_attempts": 1, "timeout_seconds": 0.5}
    with ChatServer(always(answer)) as server, pytest.raises(TeacherError):
        ask_one(server.endpoint, limits=Limits(budget=budget), settings=options)
    assert budget.spent == (worst_tokens(REQUEST) if is_charged else Tokens())


def test_attempts_that_failed_are_told_with_what_they_may_have_cost() -> None:
    worst = worst_tokens(REQUEST).total
    with ChatServer(always(Answer(error("late"), status=504), Answer(completion("Yes.")))) as server:
        assert ask_one(server.endpoint).tokens_wasted == worst
    with ChatServer(always(Answer(error("late"), status=504))) as server:
        _, (result,) = ask(server.endpoint, REQUEST)
    assert isinstance(result, TeacherError)
    assert result.tokens_charged == 3 * worst


def test_a_spent_budget_sends_nothing() -> None:
    with (
        ChatServer(always(Answer(completion("Yes.")))) as server,
        pytest.raises(BudgetError, match="must stay within 100 tokens; got 0 tokens spent"),
    ):
        ask_one(server.endpoint, limits=Limits(budget=Budget(max_tokens=100)))
    assert server.num_requests == 0


# ---- where texts may go, and where keys may not ----


def test_a_restricted_request_to_another_host_opens_nothing() -> None:
    with (
        ChatServer(always(Answer(completion("Yes.")))) as server,
        pytest.raises(RestrictedError, match="must be this machine .* got '0.0.0.0'"),
    ):
        # 0.0.0.0 reaches the server, and is not an address of loopback.
        ask_one(f"http://0.0.0.0:{server.port}/v1", settings={"is_restricted": True})
    assert server.num_requests == 0


def test_a_restricted_request_to_this_machine_or_an_allowed_host_is_answered() -> None:
    with ChatServer(always(Answer(completion("Yes.")))) as server:
        ask_one(server.endpoint, settings={"is_restricted": True})
        allowed = {"is_restricted": True, "allowed_hosts": ("0.0.0.0",)}
        ask_one(f"http://0.0.0.0:{server.port}/v1", settings=allowed)
    assert server.num_requests == 2


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with ChatServer(always(Answer(completion("Yes.")))) as other:
        away = Answer("", status=status, headers={"Location": f"{other.endpoint}/chat/completions"})
        with ChatServer(always(away)) as server, pytest.raises(TeacherError, match="Redirects are not followed"):
            ask_one(server.endpoint, settings={"is_restricted": True})
    assert (server.num_requests, other.num_requests) == (1, 0)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ChatServer(always(Answer(completion("From the proxy.")))) as server:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.port}")
        yield server


def test_a_proxy_of_the_environment_is_used_for_open_texts_alone(proxy: ChatServer) -> None:
    with ChatServer(always(Answer(completion("Yes.")))) as server:
        elsewhere = f"http://0.0.0.0:{server.port}/v1"
        assert ask_one(elsewhere).content == "From the proxy."
        restricted = {"is_restricted": True, "allowed_hosts": ("0.0.0.0",)}
        assert ask_one(elsewhere, settings=restricted).content == "Yes."
        assert ask_one(server.endpoint).content == "Yes."
    assert proxy.targets == [f"{elsewhere}/chat/completions"]
    assert server.num_requests == 2


@pytest.mark.parametrize("status", [200, 401, 400, 503])
def test_keys_and_texts_are_neither_logged_nor_in_errors(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = "sk-very-secret"
    body = completion(SECRET_TEXT) if status == 200 else error(f"{key}: {SECRET_TEXT}")
    with ChatServer(always(Answer(body, status=status))) as server:
        chat, (result,) = ask(server.endpoint, REQUEST, api_key=key)
    shown = [repr(chat), *(str(vars(record)) + record.getMessage() for record in caplog.records)]
    if isinstance(result, BaseException):
        shown += [str(result), repr(result), *traceback.format_exception(result)]
    assert len(caplog.records) > 0
    assert (status == 200) == isinstance(result, ChatReply)
    for text in shown:
        assert key not in text
        assert SECRET_TEXT[:24] not in text
    assert repr(chat) == "OpenAIChat(model='asked-model', host='127.0.0.1')"


@pytest.mark.parametrize("key", ["", " ", "sk-secret\n", "sk secret", "sk-s\u00e9cret"])
def test_a_key_that_no_header_can_hold(key: str) -> None:
    with pytest.raises(ConfigError, match="api_key: the key must be printable ASCII without blanks") as caught:
        OpenAIChat("http://localhost:1/v1", "m", api_key=key)
    assert "secret" not in str(caught.value)


def test_fields_that_are_set_anyway_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"extra_body: .* got \['n', 'stream'\]\. Leave them out"):
        ChatSettings(extra_body={"stream": True, "n": 2, "min_p": 0.1})


# ---- the extra ----


def test_importing_the_client_loads_no_sdk() -> None:
    code = (
        "import sys, clsgen.llm.client;"
        "print(sorted({'openai', 'stamina', 'tenacity', 'httpx2', 'httpx', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["openai", "stamina"])
def test_without_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf"got '{name}' missing\. Run: pip install 'clsgen\[teacher\]'"):
        OpenAIChat("http://localhost:1/v1", "m")
