"""What stands around every request: its number, its limits, its headers, its line in the log; and who may ask."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.exceptions import HTTPException

from clsgen.serve.settings import ServeSettings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ALWAYS = ("/healthz", "/readyz", "/metrics")
"""Paths that are answered while the server stops."""

log = structlog.get_logger("clsgen.serve")


@dataclass(slots=True)
class Gate:
    """Whether the server stops, and how many requests are in flight."""

    is_closed: bool = False
    num_in_flight: int = 0


def hashed(key: str) -> str:
    """SHA-256 of a key, in hex: what a server keeps instead of it."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key() -> str:
    """A key that nobody guesses."""
    return "clsgen-" + secrets.token_urlsafe(32)


def owner_of(authorization: str | None, keys: Sequence[str]) -> str | None:
    """The hash of the key that was given, where it is one of those known; every known one is compared.

    Args:
        authorization: The header, `Bearer KEY`.
        keys: Hashes of the known keys.
    """
    kind, _, key = (authorization or "").partition(" ")
    digest = hashed(key.strip())
    found = [each for each in keys if hmac.compare_digest(each, digest)]
    return found[0] if found and kind.lower() == "bearer" else None


class Guard:
    """Wraps an application.

    Args:
        app: What is wrapped.
        settings: Limits.
        count: Is told route and status of every request.
        gate: Closed while the server stops.
    """

    def __init__(self, app: App, *, settings: ServeSettings, count: Callable[[str, str], None], gate: Gate) -> None:
        self._app, self._settings, self._count, self._gate = app, settings, count, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = _Call(scope, receive, send, self._settings)
        self._gate.num_in_flight += 1
        try:
            if self._gate.is_closed and scope["path"] not in _ALWAYS:
                await call.refuse(503, "the server is stopping and takes no new requests. Ask another one.", retry_s=5)
            elif not self._settings.knows(call.host):
                await call.refuse(400, "the host must be localhost or a name given by --allow-host; it is another.")
            elif call.announced_bytes > self._settings.max_body_bytes:
                await call.refuse(413, too_long(self._settings))
            else:
                await self._app(scope, call.receive, call.send)
        except Exception as error:  # noqa: BLE001 - whatever it is, its words may repeat a text: they are not logged
            log.error("the server failed", request_id=call.id, **named(error))
            await call.refuse(500, "the server failed; its log says where.", kind="server_error")
        finally:
            self._gate.num_in_flight -= 1
            route = getattr(scope.get("route"), "path", "other")
            self._count(route, str(call.status))
            log.info(
                "request",
                request_id=call.id,
                method=scope["method"],
                route=route,
                status=call.status,
                seconds=round(time.monotonic() - call.started, 4),
                body_bytes=call.num_bytes,
            )


def named(error: BaseException) -> dict[str, Any]:
    """An error for the log: its kind and where it came from, none of its words."""
    return {"error": type(error).__name__, "where": traceback.format_tb(error.__traceback__)}


def too_long(settings: ServeSettings) -> str:
    """What a body is told that exceeds the limit."""
    return f"a body must be at most {settings.max_body_bytes:,} bytes. Send fewer or shorter texts."


class _Call:
    """A request that is going on."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, settings: ServeSettings) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        self.id = given if _ID.fullmatch(given) else secrets.token_hex(8)
        scope["request_id"] = self.id
        self.host = headers.get("host", "")
        length = headers.get("content-length", "0")
        self.announced_bytes = int(length) if length.isdecimal() else 0
        self.num_bytes, self.status = 0, 0
        self.started = time.monotonic()
        self._is_whole = False
        self._receive, self._send, self._settings = receive, send, settings

    async def receive(self) -> MutableMapping[str, Any]:
        """The next piece of the body, within the limits."""
        if self._is_whole:
            return await self._receive()  # waits for the client to go away
        left = self.started + self._settings.body_timeout_s - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except TimeoutError:
            seconds = self._settings.body_timeout_s
            raise HTTPException(408, f"a body must come in within {seconds:g} s; this one did not.") from None
        self.num_bytes += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if self.num_bytes > self._settings.max_body_bytes:
            raise HTTPException(413, too_long(self._settings))
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Pass an answer on, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {name.lower() for name, _ in message.get("headers", [])}
            extra = {**HEADERS, "x-request-id": self.id}
            message["headers"] = [
                *message.get("headers", []),
                *((k.encode(), v.encode()) for k, v in extra.items() if k.encode() not in own),
            ]
        await self._send(message)

    async def refuse(self, status: int, message: str, *, retry_s: int | None = None, kind: str = "refused") -> None:
        """Answer without asking the application."""
        if self.status:  # an answer has begun: there is no other one to give
            return
        body = json.dumps({"error": {"message": message, "type": kind, "request_id": self.id}}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers.append((b"connection", b"close"))
        if retry_s is not None:
            headers.append((b"retry-after", str(retry_s).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
