"""What a server refuses, and how it says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from clsgen.errors import ClsgenError, ConfigError, DataError


class QueueFull(ClsgenError):
    """More texts wait than may. retry_after_s: when to ask again."""

    def __init__(self, limit: int, retry_after_s: int) -> None:
        super().__init__(f"the queue must hold at most {limit} texts; it is full. Ask again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class Closing(ClsgenError):
    """The server is stopping and takes nothing new."""

    def __init__(self) -> None:
        super().__init__("the server is stopping and takes no new requests. Ask another one.")


class Overdue(ClsgenError):
    """A request took longer than it may."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"an answer must be there within {seconds:g} s; it was not. Ask for less, or later.")


class ModelFailed(ClsgenError):
    """The model failed while it read or wrote."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"the model failed: {type(error).__name__}. The server's log says where; ask again.")


class Gone(Exception):
    """The client went away."""


_STATUS: Mapping[type[ClsgenError], int] = {
    QueueFull: 429,
    Closing: 503,
    Overdue: 504,
    DataError: 422,
    ConfigError: 422,
}


def add_errors(app: FastAPI) -> None:
    """Every failure becomes an ErrorResponse."""

    @app.exception_handler(ClsgenError)
    async def refused(http: Request, error: ClsgenError) -> JSONResponse:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
        headers = {"retry-after": str(error.retry_after_s)} if isinstance(error, QueueFull) else {}
        return _error(http, status, str(error), headers)

    @app.exception_handler(RequestValidationError)
    async def misshapen(http: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        if any(each["type"] == "json_invalid" for each in problems):
            return _error(http, 400, f"a body must be JSON; this one is not: {problems[0]['ctx']['error']}.")
        return _error(http, 422, _problems(problems))

    @app.exception_handler(StarletteHTTPException)
    async def known(http: Request, error: StarletteHTTPException) -> JSONResponse:
        if error.status_code == 404 and error.detail == "Not Found":
            return _error(http, 404, "there is nothing at this path. /openapi.json says what there is.")
        return _error(http, error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(Gone)
    async def gone(http: Request, error: Gone) -> JSONResponse:
        return _error(http, 499, "the client went away.")


def _problems(found: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with a body, without any of its text."""
    return "; ".join(f"{_place(each['loc'][1:])}: {_rule(each)}" for each in found[:5])


def _place(parts: Sequence[Any]) -> str:
    """Where in the body; the names of the forms that a text may have (`<text>`) are no part of it."""
    named = ".".join(str(part) for part in parts if not str(part).startswith("<")) or "body"
    return named.encode(errors="replace").decode()


def _rule(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "string_pattern_mismatch":
        return "must not be blank"
    if problem["type"] == "union_tag_invalid":
        return "must be a text, or a list of texts or documents"
    if problem["type"] == "model_attributes_type":
        return "must be a JSON object, sent with `content-type: application/json`"
    return str(problem["msg"]).removeprefix("Value error, ")


def _error(http: Request, status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    body = {"error": {"message": message, "type": kind, "request_id": str(http.scope.get("request_id", ""))}}
    return JSONResponse(body, status, dict(headers or {}))
