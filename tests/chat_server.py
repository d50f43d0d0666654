"""A real OpenAI-compatible server on a free loopback port, whose answers a test scripts.

with ChatServer(lambda body, number: Answer(completion("Yes."))) as server:
    ... OpenAIChat(server.endpoint, "m") ...
assert server.num_requests == 1
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One answer: a body that is sent as JSON (a str as it stands), after `delay_seconds`.

    With `sent_share` below 1 the connection is closed after that share of the body.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    sent_share: float = 1.0


Script = Callable[[dict[str, Any], int], Answer]
"""From the request's JSON and its number (0, 1, ...) to the answer; called in a thread for each request."""


def completion(content: str | None, *, usage: tuple[int, int] | None = (10, 5), **message: Any) -> dict[str, Any]:
    """The body of a chat completion.

    Args:
        content: What the model says.
        usage: (prompt tokens, completion tokens); None leaves the usage out.
        message: Further fields of the message, such as reasoning_content; finish_reason goes to the choice.
    """
    finish_reason = message.pop("finish_reason", "stop")
    choice = {
        "index": 0,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", "content": content, **message},
    }
    body = {"id": "c", "object": "chat.completion", "created": 0, "model": "served-model", "choices": [choice]}
    if usage is not None:
        counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
        body["usage"] = counts
    return body


def error(message: str) -> dict[str, Any]:
    """The body of an error, as OpenAI and vLLM write it."""
    return {"error": {"message": message, "type": "test", "code": None}}


class ChatServer:
    """Answers every POST by its script; a context manager.

    Attributes:
        endpoint: Base address for a client.
        port: The port it listens on.
        bodies: The JSON of each request, in the order of arrival.
        headers: Their headers, names in lower case.
        targets: Their request targets: a path, or a whole address where the server is used as a proxy.
        arrivals: When each arrived, by time.monotonic.
        max_in_flight: Most requests under way at a time.
    """

    def __init__(self, script: Script) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.targets: list[str] = []
        self.arrivals: list[float] = []
        self.max_in_flight = 0
        self._in_flight = 0
        self._script = script
        self._lock = threading.Lock()
        self._server = _Listener(("127.0.0.1", 0), _handler(self))
        self.port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def num_requests(self) -> int:
        return len(self.bodies)

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            self.targets.append(handler.path)
            self.arrivals.append(time.monotonic())
            self._in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self._in_flight)
        try:
            answer = self._script(body, number)
            time.sleep(answer.delay_seconds)
        finally:
            with self._lock:  # before the answer is sent: after it, the client may already have sent the next
                self._in_flight -= 1
        payload = (answer.body if isinstance(answer.body, str) else json.dumps(answer.body)).encode()
        handler.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(payload)))
        handler.end_headers()
        handler.wfile.write(payload[: round(answer.sent_share * len(payload))])


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with contextlib.suppress(ConnectionError):  # a client that stopped waiting
                server._answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler
