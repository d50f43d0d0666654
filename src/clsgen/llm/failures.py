"""Why an attempt failed, in words that may be shown, and whether another one is worth it."""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from clsgen.errors import TeacherError
from clsgen.llm.answers import text_of
from clsgen.llm.chat import ChatRequest

_TRANSIENT_STATUSES = {408, 409, 429}
_COST_UNKNOWN_STATUSES = {408, 504, 524}
"""A gateway that gave up waiting: the model behind it may go on, and be paid for."""

_UNSENT = {"ConnectError", "ConnectTimeout", "PoolTimeout"}
_MAX_MESSAGE_CHARS = 300
_ECHO_CHARS = 24
"""A server's message that repeats this much of the request is not passed on: it may end in a log."""


class AttemptError(TeacherError):
    """One attempt that failed.

    Attributes:
        is_transient: Another attempt may do better.
        is_free: It can't have cost anything.
        wait_seconds: What the server asks to wait before another; None where it doesn't.
    """

    is_transient = False
    is_free = False
    wait_seconds: float | None = None


class Asked(NamedTuple):
    """What a message about a failed attempt needs to know, and what it must not show."""

    where: str
    request: ChatRequest
    api_key: str | None
    timeout_seconds: float
    is_restricted: bool


def read_failure(error: Exception, asked: Asked) -> AttemptError:
    """The failure behind an error of the SDK.

    Of the error's own words only the server's message is kept, as `read_refusal` gives it: they may hold the request.
    """
    import openai  # noqa: PLC0415  (the extra `teacher`, which is loaded where there is such an error)

    if isinstance(error, openai.APIStatusError):
        return _of_status(error, asked)
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        got = f"no answer within {asked.timeout_seconds:g} seconds"
        failure = _failure(asked, "timeout", got, "Raise the timeout, or ask for less.")
        failure.is_transient = True
        failure.is_free = _is_unsent(error)
        return failure
    if isinstance(error, openai.APIConnectionError):
        got = f"no connection ({type(error.__cause__).__name__})"
        failure = _failure(asked, "connection", got, "Check that the server is up and the endpoint its address.")
        failure.is_transient = True
        failure.is_free = _is_unsent(error)
        return failure
    return malformed(asked, "an answer that can't be read")


def malformed(asked: Asked, got: str) -> AttemptError:
    """The failure of an answer that is no chat completion."""
    hint = "Check that the endpoint is that of an OpenAI-compatible API; it usually ends in /v1."
    return _failure(asked, "malformed", got, hint)


def read_refusal(body: Any, asked: Asked) -> str:
    """The server's own message in an error, in one line; without the key, and withheld where it repeats the request.

    A server may repeat a text in any spelling, so of a request with restricted texts no word of its is passed on.

    Args:
        body: The body of the answer, parsed where it was JSON.
        asked: What was asked.
    """
    if asked.is_restricted:
        return "a message that is left out here, as texts are restricted"
    message = body
    for name in ("error", "message", "detail"):
        if isinstance(message, dict) and message.get(name):
            message = message[name]
    line = " ".join((message if isinstance(message, str) else json.dumps(message, default=str)).split())
    if asked.api_key:
        line = line.replace(asked.api_key, "***")
    line = "".join(letter if letter.isprintable() else "?" for letter in line[:_MAX_MESSAGE_CHARS])
    text = " ".join(text_of(asked.request).split())
    pieces = (line[start : start + _ECHO_CHARS] for start in range(len(line) - _ECHO_CHARS + 1))
    if any(piece in text for piece in pieces):
        return "a message that repeats the request, and is left out here"
    return line or "no message"


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait, from seconds or an HTTP date; None where it doesn't say.

    >>> read_retry_after({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT", "date": "Fri, 31 Dec 1999 23:59:29 GMT"})
    30.0
    """
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        until = _seconds_of_date(value)
        if until is None:
            return None
        now = _seconds_of_date(headers.get("date", ""))  # the server's own clock, since ours may be ahead
        seconds = until - (time.time() if now is None else now)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_of_date(value: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None


def _of_status(error: Any, asked: Asked) -> AttemptError:
    status = int(error.status_code)
    refusal = read_refusal(error.body, asked)
    failure = _failure(asked, f"http_{status}", f"HTTP {status}: {refusal}", _hint(status))
    failure.is_transient = _is_transient(status)
    failure.is_free = status not in _COST_UNKNOWN_STATUSES
    failure.wait_seconds = read_retry_after(error.response.headers)
    return failure


def _is_transient(status: int) -> bool:
    return status in _TRANSIENT_STATUSES or status >= 500


def _is_unsent(error: Exception) -> bool:
    # By name, since which HTTP library the SDK stands on has changed before.
    return type(error.__cause__).__name__ in _UNSENT


def _failure(asked: Asked, reason: str, got: str, hint: str) -> AttemptError:
    return AttemptError(f"{asked.where}: the request must be answered; got {got}. {hint}", reason=reason)


def _hint(status: int) -> str:
    if 300 <= status < 400:
        return "Redirects are not followed: give the final address as the endpoint."
    if status in (401, 403):
        return "Check the API key, and that it may use this model."
    if status == 404:
        return "Check the model's name and the endpoint; it usually ends in /v1."
    if _is_transient(status):
        return "Try again later, with fewer requests at a time or a minute."
    return "Correct what the server names."
