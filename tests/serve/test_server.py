"""A server process and real clients: the same numbers as the classifier, limits that hold, nobody in another's way."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

import tiny
from clsgen.errors import ConfigError
from clsgen.inference.predictor import Classifier
from clsgen.serve import settings as settings_module
from clsgen.serve.guard import Gate, Guard
from clsgen.serve.process import log_lines
from clsgen.serve.settings import ServeSettings
from served import Server

TEXTS = [row.document for row in tiny.examples(10)]


def events(server: Server, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Server-sent events of a stream, in their order."""
    found = []
    with server.client() as client, client.stream("POST", "/v1/explain/stream", json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in response.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found.append((name, json.loads(line.removeprefix("data: "))))
    return found


def test_probabilities_and_decisions_are_the_classifiers(server: Server, classifier: Classifier) -> None:
    wanted = classifier.predict(TEXTS)
    with server.client() as client:
        found = client.post("/v1/classify", json={"texts": TEXTS}).json()
        assert found["model"] == "weather"
        for each, prediction in zip(found["results"], wanted, strict=True):
            assert each["probabilities"] == pytest.approx(prediction.probs, abs=1e-5)
            assert (each["decision"], each["threshold"]) == (prediction.decision, prediction.threshold)
        one = client.post("/v1/classify", json={"texts": TEXTS[3]}).json()["results"]
        assert one[0]["probabilities"] == pytest.approx(wanted[3].probs, abs=1e-5)
        named = client.post("/v1/classify", json={"texts": [{"text": TEXTS[3], "id": "n"}]}).json()["results"]
        assert (named[0]["id"], named[0]["decision"]) == ("n", wanted[3].decision)


def test_whatever_else_is_asked_meanwhile(server: Server, classifier: Classifier) -> None:
    wanted = classifier.predict(TEXTS, explain="all")

    def ask(number: int) -> None:
        with server.client() as client:
            path = "/v1/explain" if number % 2 else "/v1/classify"
            (found,) = client.post(path, json={"texts": [TEXTS[number % 10]]}).json()["results"]
            assert found["probabilities"] == pytest.approx(wanted[number % 10].probs, abs=1e-5)
            if number % 2:
                prediction = wanted[number % 10]
                assert (found["explanation"], found["stated_label"], found["agreement"], found["has_ended"]) == (
                    prediction.explanation,
                    prediction.stated_label,
                    prediction.agreement,
                    prediction.has_ended,
                )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(40)))


def test_a_stream_gives_the_probability_first(server: Server, classifier: Classifier) -> None:
    (wanted,) = classifier.predict([TEXTS[0]], explain="all", mode="decision")
    found = events(server, {"texts": TEXTS[0], "mode": "decision"})
    kinds = [name for name, _ in found]
    assert kinds[0] == "probability"
    assert kinds[-1] == "done"
    assert set(kinds[1:-1]) == {"text"}
    assert found[0][1]["probabilities"] == pytest.approx(wanted.probs, abs=1e-5)
    assert "explanation" not in found[0][1]
    assert "".join(data["text"] for name, data in found if name == "text") == wanted.explanation
    assert found[-1][1]["explanation"] == wanted.explanation
    assert found[-1][1]["notice"] == "The reason is written after the probability and does not cause it."


def test_an_openai_client_works_unchanged(server: Server, classifier: Classifier) -> None:
    (wanted,) = classifier.predict([TEXTS[1]], explain="all")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    message = {"role": "user", "content": TEXTS[1]}
    found = client.chat.completions.create(model="weather", messages=[message])  # type: ignore[list-item]
    assert found.choices[0].message.content == wanted.explanation
    assert found.choices[0].finish_reason == ("stop" if wanted.has_ended else "length")
    assert found.model_extra is not None
    assert found.model_extra["clsgen"]["probabilities"] == pytest.approx(wanted.probs, abs=1e-5)
    assert found.usage is not None
    assert found.usage.prompt_tokens == len(classifier.bundle.renderer.prompt(TEXTS[1]).ids)
    assert found.usage.completion_tokens > 0
    chunks = list(client.chat.completions.create(model="weather", messages=[message], stream=True))  # type: ignore
    assert "".join(each.choices[0].delta.content or "" for each in chunks) == wanted.explanation
    assert chunks[0].model_extra["clsgen"]["decision"] == wanted.decision
    assert [each.id for each in client.models.list()] == ["weather"]
    for messages in ([{"role": "system", "content": "Be brief."}, message], [message, message]):
        with pytest.raises(openai.BadRequestError, match="other turns are not understood"):
            client.chat.completions.create(model="weather", messages=messages)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/classify", b"{", 400),
        ("/v1/classify", b'{"texts": "\xff"}', 400),
        ("/v1/classify", b'{"texts":' + b"[" * 50_000, 400),
        ("/v1/classify", b'{"texts": "\\ud800"}', 422),
        ("/v1/classify", b'{"texts": [{"text": "a", "question": "\\udfff"}]}', 422),
        ("/v1/classify", b'{"texts": [{"text": "a", "id": "\\ud800"}]}', 422),
        ("/v1/classify", b'{"texts": "a", "\\ud800": 1}', 422),
        ("/v1/chat/completions", b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        ("/v1/chat/completions", b'{"model": "\\ud800", "messages": [{"role": "user", "content": "a"}]}', 404),
        ("/v1/classify", json.dumps({"texts": "wet " * 40_000}).encode(), 422),
        ("/v1/classify", b'{"texts": ""}', 422),
        ("/v1/classify", b'{"texts": "   "}', 422),
        ("/v1/classify", b'{"texts": []}', 422),
        ("/v1/classify", b'{"texts": ["a"], "other": 1}', 422),
        ("/v1/explain", b'{"texts": ["a"], "mode": "loud"}', 422),
        ("/v1/classify", json.dumps({"texts": ["a"] * 65}).encode(), 422),
        ("/v1/classify", json.dumps({"texts": "a" * 200_001}).encode(), 413),
        ("/v1/classify", b'{"texts": ["a\\u0000b"]}', 200),
        ("/v1/chat/completions", b'{"messages": []}', 422),
        ("/v1/nothing", b"{}", 404),
    ],
)
def test_what_is_no_request_gets_a_clear_answer(server: Server, path: str, body: bytes, status: int) -> None:
    with server.client() as client:
        response = client.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    if status != 200:
        error = response.json()["error"]
        assert error["message"]
        assert error["request_id"] == response.headers["x-request-id"]
    if status == 413:
        assert "200,000 bytes" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"texts": " \n"}, "texts: must not be blank"),
        ({"texts": ["a", " "]}, "texts.1: must not be blank"),
        ({"texts": ["a", {"text": ""}]}, "texts.1.text: must not be blank"),
        ({"texts": ["a", {"text": "b", "answer": "c"}]}, "texts.1.answer: Extra inputs are not permitted"),
        ({"texts": 3}, "texts: must be a text, or a list of texts or documents"),
        ({}, "texts: Field required"),
    ],
)
def test_an_error_names_the_place_and_the_rule(server: Server, body: dict[str, Any], message: str) -> None:
    with server.client() as client:
        assert client.post("/v1/explain", json=body).json()["error"]["message"] == message


def test_control_tokens_in_a_text_are_text(server: Server, classifier: Classifier) -> None:
    text = "We saw <|assistant|> Answer: sun <|eot|> <|begin|> on that day."
    with server.client() as client:
        (found,) = client.post("/v1/classify", json={"texts": [text]}).json()["results"]
    assert found["probabilities"] == pytest.approx(classifier.predict([text])[0].probs, abs=1e-5)


def test_answers_carry_strict_headers_and_their_number(server: Server) -> None:
    with server.client() as client:
        found = client.get("/healthz", headers={"x-request-id": "mine-7", "origin": "https://elsewhere.example"})
        other = client.get("/healthz", headers={"x-request-id": "a b"})
    assert found.json() == {"status": "ok"}
    assert found.headers["x-request-id"] == "mine-7"
    assert other.headers["x-request-id"] not in ("", "a b")
    assert "default-src 'self'" in found.headers["content-security-policy"]
    assert found.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in found.headers
    assert "server" not in found.headers


def test_half_a_request_holds_nobody_up(server: Server) -> None:
    slow = socket.create_connection(("127.0.0.1", server.port))
    slow.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Le")
    body = socket.create_connection(("127.0.0.1", server.port))
    body.sendall(
        b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 40\r\n\r\n{"
    )
    started = time.monotonic()
    with server.client() as client:
        assert client.post("/v1/classify", json={"texts": TEXTS[0]}).status_code == 200
    assert time.monotonic() - started < 5
    body.settimeout(30)
    assert b" 408 " in body.recv(4096)
    slow.settimeout(30)
    assert slow.recv(4096) == b""  # hung up
    slow.close()
    body.close()


def open_texts(server: Server) -> float:
    with server.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("clsgen_open_texts ")))


def test_a_client_that_goes_away_frees_its_place(server: Server) -> None:
    with server.client() as client, client.stream("POST", "/v1/explain/stream", json={"texts": TEXTS}) as response:
        next(response.iter_lines())
    ends = time.monotonic() + 20
    while open_texts(server) and time.monotonic() < ends:
        time.sleep(0.05)
    assert open_texts(server) == 0


def test_metrics_count_what_was_asked(server: Server) -> None:
    with server.client() as client:
        client.post("/v1/classify", json={"texts": TEXTS[:3]})
        text = client.get("/metrics").text
    assert 'clsgen_requests_total{route="/v1/classify",status="200"}' in text
    assert "clsgen_seconds_to_probability_count" in text
    assert "clsgen_read_tokens_total" in text


@pytest.mark.slow
def test_only_those_with_a_key_are_let_in(model: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    keys = tmp_path / "keys"
    made = subprocess.run(
        [sys.executable, "-m", "clsgen", "serve", str(model), "--new-key", "--keys", str(keys)],
        capture_output=True,
        text=True,
        check=True,
    )
    key = made.stdout.strip()
    assert key not in keys.read_text()
    assert keys.stat().st_mode & 0o077 == 0
    server = Server.start(model, tmp_path, "--keys", str(keys), CLSGEN_API_KEY="from the environment")
    try:
        with server.client() as client:
            body = {"texts": TEXTS[0]}
            for given in (None, "Bearer wrong", f"Basic {key}", key):
                headers = {} if given is None else {"authorization": given}
                refused = client.post("/v1/classify", json=body, headers=headers)
                assert refused.status_code == 401
                assert refused.headers["www-authenticate"] == "Bearer"
            for good in (key, "from the environment"):
                found = client.post("/v1/classify", json=body, headers={"authorization": f"Bearer {good}"})
                assert found.status_code == 200
            assert client.get("/healthz").status_code == 200
    finally:
        server.stop()
    assert key not in server.log


@pytest.mark.slow
def test_a_full_queue_says_when_to_come_again(model: Path, tmp_path: Path) -> None:
    server = Server.start(model, tmp_path, "--max-queued", "2")

    def ask(number: int) -> Any:
        with server.client() as client:
            return client.post("/v1/explain", json={"texts": TEXTS[:2]})

    try:
        with ThreadPoolExecutor(24) as pool:
            found = list(pool.map(ask, range(96)))
        assert {each.status_code for each in found} == {200, 429}
        full = next(each for each in found if each.status_code == 429)
        assert int(full.headers["retry-after"]) >= 1
        assert "at most 2 texts" in full.json()["error"]["message"]
        with server.client() as client:
            never = client.post("/v1/classify", json={"texts": TEXTS[:3]})
            assert never.status_code == 422
            assert "at most 2 in one request" in never.json()["error"]["message"]
            limits = client.get("/v1/models").json()["data"][0]["limits"]
            assert limits == {"texts": 2, "tokens": 32_768, "body_bytes": 1_000_000, "queued": 2}
    finally:
        server.stop()


@pytest.mark.slow
def test_a_request_that_takes_too_long_is_given_up(model: Path, tmp_path: Path) -> None:
    server = Server.start(model, tmp_path, "--deadline", "0.001")
    try:
        with server.client() as client:
            late = client.post("/v1/explain", json={"texts": TEXTS})
            assert late.status_code == 504
            assert "0.001 s" in late.json()["error"]["message"]
    finally:
        server.stop()


@pytest.mark.slow
def test_on_sigterm_everything_accepted_is_answered(model: Path, tmp_path: Path) -> None:
    server = Server.start(model, tmp_path)

    def ask(number: int) -> int:
        try:
            with server.client() as client:
                found = client.post("/v1/explain", json={"texts": [TEXTS[number % 10]] * 4})
        except Exception as error:  # noqa: BLE001 - what counts is that none broke off after it was taken
            return 0 if "refused" in str(error).lower() else -1
        assert found.status_code in (200, 503), found.text
        return found.status_code

    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(ask, number) for number in range(64)]
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        answers = [each.result() for each in asked]
    assert server.process.wait(timeout=60) == 0
    server.stop()
    assert -1 not in answers
    assert 200 in answers
    assert "Stopped." in server.said


@pytest.mark.slow
def test_the_log_holds_no_text(model: Path, tmp_path: Path) -> None:
    server = Server.start(model, tmp_path)
    with server.client() as client:
        client.post("/v1/explain", json={"texts": ["Zanzibar saw wet streets."]})
        client.post("/v1/explain", json={"texts": ["Zanzibar"], "mode": "Zanzibar"})
        for path, body in (
            ("/v1/classify", b'{"texts": "Zanzibar'),
            ("/v1/chat/completions", b'{"messages": [{"role": "user", "content": "Zanzibar \\ud800"}]}'),
        ):
            client.post(path, content=body, headers={"content-type": "application/json"})
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    assert [line["status"] for line in lines] == [200, 422, 400, 400]
    assert "Zanzibar" not in server.log


@pytest.mark.slow
def test_those_who_do_not_end_in_time_are_told(model: Path, tmp_path: Path) -> None:
    server = Server.start(model, tmp_path, "--drain", "0")

    def ask(number: int) -> Any:
        with server.client() as client:
            return client.post("/v1/explain", json={"texts": [TEXTS[number]] * 60})

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, number) for number in range(4)]
        while not open_texts(server):
            time.sleep(0.02)
        stopped = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        answers = [each.result() for each in asked]
        assert server.process.wait(timeout=60) == 1
    assert time.monotonic() - stopped < 10
    server.stop()
    assert {each.status_code for each in answers} == {503}
    assert all("is stopping" in each.json()["error"]["message"] for each in answers)
    assert "Traceback" not in server.log
    assert all(json.loads(line) for line in server.log.splitlines())


def test_a_name_of_another_site_is_not_this_server(server: Server) -> None:
    with server.client() as client:
        refused = client.post("/v1/classify", json={"texts": TEXTS[0]}, headers={"host": "evil.example:8000"})
        assert refused.status_code == 400
        assert "--allow-host" in refused.json()["error"]["message"]
        known = client.post("/v1/classify", json={"texts": TEXTS[0]}, headers={"host": "localhost:1"})
        assert known.status_code == 200


def test_a_chat_with_another_model_is_refused(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    with pytest.raises(openai.NotFoundError, match="'weather'"):
        client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": TEXTS[0]}])


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (("--port", "99999"), {}, "--port must be at most 65535"),
        (("--max-texts", "0"), {}, "--max-texts must be 1 or more"),
        (("--deadline", "nan"), {}, "--deadline must be"),
        (("--keys", "empty"), {}, "must hold a key's hash or more"),
        (("--keys", "latin"), {}, "must be a file of hashes"),
        (("--keys", "nowhere/keys", "--new-key"), {}, "can be written"),
        ((), {"CLSGEN_API_KEY": ""}, "CLSGEN_API_KEY must be a key"),
    ],
)
def test_what_can_not_be_served_so_is_said(
    model: Path, tmp_path: Path, options: tuple[str, ...], environment: dict[str, str], message: str
) -> None:
    from typer.testing import CliRunner

    from clsgen.cli.main import app

    (tmp_path / "empty").write_text("# nobody\n")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    words = [str(tmp_path / word) if word in ("empty", "latin", "nowhere/keys") else word for word in options]
    result = CliRunner(env=environment).invoke(app, ["serve", str(model), *words])
    assert result.exit_code != 0
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)


@pytest.mark.parametrize("words", [["serve", "org/model"], ["review", "serve", "study"]])
def test_without_its_packages_serving_says_what_to_install(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    from importlib.util import find_spec

    from typer.testing import CliRunner

    from clsgen.cli.main import app

    monkeypatch.setattr(settings_module, "find_spec", lambda name: None if name == "structlog" else find_spec(name))
    with monkeypatch.context() as patch:
        for name in [name for name in sys.modules if name.startswith(("clsgen.serve.", "structlog"))]:
            if name != settings_module.__name__:
                patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "structlog", None)  # an import of it fails
        result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception) == "serve: structlog must be installed. Run: pip install 'clsgen[serve]'"


@pytest.mark.parametrize("has_begun", [False, True])
def test_what_nobody_thought_of_is_answered_and_logged_without_its_words(
    has_begun: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[Any] = []
    secret = "Zanzibar"

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        if has_begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError(secret)

    async def send(message: Any) -> None:
        sent.append(message)

    counted: list[tuple[str, str]] = []
    guard = Guard(broken, settings=ServeSettings(), count=lambda *pair: counted.append(pair), gate=Gate())
    log_lines()
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"[::1]:80")]}
    with ThreadPoolExecutor(1) as other:  # a thread without a loop, whatever the tests before have left in this one
        other.submit(asyncio.run, guard(scope, None, send)).result()  # type: ignore[arg-type]
    assert sent[0]["status"] == (200 if has_begun else 500)
    assert b"x-request-id" in dict(sent[0]["headers"])
    assert len(sent) == (1 if has_begun else 2)
    if not has_begun:
        assert json.loads(sent[1]["body"])["error"]["type"] == "server_error"
    assert counted == [("other", "200" if has_begun else "500")]
    log = capsys.readouterr().err
    assert [json.loads(line)["event"] for line in log.splitlines()] == ["the server failed", "request"]
    assert "ValueError" in log
    assert secret not in log
