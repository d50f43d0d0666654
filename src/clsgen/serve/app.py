"""The routes: classify, explain, stream, chat, and what a machine asks of a server."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

import clsgen
from clsgen.errors import ClsgenError, ConfigError, DataError
from clsgen.inference.predictor import Classifier
from clsgen.serve.asking import Gone, Wanted, answers, last_answers
from clsgen.serve.desk import Answer, Closing, Desk, Overdue, QueueFull
from clsgen.serve.guard import Gate, Guard, owner_of
from clsgen.serve.metrics import Metrics
from clsgen.serve.schemas import (
    ChatChoice,
    ChatMessage,
    ChatRequest,
    ChatResponse,
    ClassifyRequest,
    ClassifyResponse,
    ErrorResponse,
    ExplainedResult,
    ExplainRequest,
    ExplainResponse,
    Health,
    Model,
    ModelList,
    Result,
    Usage,
)
from clsgen.serve.settings import ServeSettings
from clsgen.types import CONTRACT_SENTENCE, Example

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "A body that can't be read, or a chat that is none."},
    401: {"model": ErrorResponse, "description": "No key, or one that is not known."},
    408: {"model": ErrorResponse, "description": "A body that came in too slowly."},
    413: {"model": ErrorResponse, "description": "A body that is too long."},
    422: {"model": ErrorResponse, "description": "A field that is not what it must be, or too many texts."},
    429: {"model": ErrorResponse, "description": "Too many texts wait already; Retry-After says when to come again."},
    503: {"model": ErrorResponse, "description": "The server is stopping."},
    504: {"model": ErrorResponse, "description": "The deadline passed."},
}
_STATUS: Mapping[type[ClsgenError], int] = {
    QueueFull: 429,
    Closing: 503,
    Overdue: 504,
    DataError: 422,
    ConfigError: 422,
}


class Service:
    """What the routes share: the model's desk, the limits, the counters."""

    def __init__(self, classifier: Classifier, name: str, settings: ServeSettings) -> None:
        self.settings, self.name = settings, name
        self.spec, self.explains = classifier.spec, classifier.bundle.has_explanations
        self.gate = Gate()
        self.metrics = Metrics(num_queued=lambda: self.desk.num_queued, num_open=lambda: self.desk.num_open)
        self.desk = Desk(
            classifier,
            batch_tokens=settings.batch_tokens,
            max_queued=settings.max_queued,
            watch=self.metrics,
        )

    def wanted(self, http: Request, explains: ExplainRequest | None) -> Wanted:
        """What is asked, and by whom."""
        if explains is not None and not self.explains:
            raise ConfigError("this model must have been trained to explain; it was not. Ask /v1/classify.")
        peer = "" if http.client is None else http.client.host
        client = getattr(http.state, "owner", None) or peer
        mode = "free" if explains is None else explains.mode
        return Wanted(explains is not None, mode, self.settings.deadline_s, client)

    def checked(self, body: ClassifyRequest) -> list[Example]:
        """The texts of a request.

        Raises:
            DataError: None, or more than one request may hold.
        """
        examples = body.examples()
        if not 1 <= len(examples) <= self.settings.max_texts:
            raise DataError(f"texts must be 1 to {self.settings.max_texts} in one request; got {len(examples)}.")
        for example in examples:
            if not example.document.strip():
                raise DataError(f"text {example.id}: a text must not be blank. Leave it out.")
        return examples


def make_app(service: Service) -> FastAPI:
    """The application of a server.

    Args:
        service: The model and its limits.
    """
    app = FastAPI(
        title="clsgen",
        version=clsgen.__version__,
        description="A calibrated probability, and the reason in words. " + CONTRACT_SENTENCE,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        responses=_REFUSALS,
    )
    _add_errors(app)
    _add_machine_routes(app, service)
    _add_asking_routes(app, service)
    _add_chat_route(app, service)
    app.add_middleware(Guard, settings=service.settings, metrics=service.metrics, gate=service.gate)
    if service.settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id"],
        )
    return app


def _let_in(service: Service) -> Any:
    """A dependency that refuses whoever has no key, where there are keys."""

    async def check(http: Request) -> None:
        keys = service.settings.keys
        owner = owner_of(http.headers.get("authorization"), keys)
        if keys and owner is None:
            raise HTTPException(
                401, "a key must be given as `Authorization: Bearer KEY`.", {"www-authenticate": "Bearer"}
            )
        http.state.owner = owner

    return Depends(check)


def _add_machine_routes(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["machine"])
    async def healthz() -> Health:
        """Whether the process lives."""
        return Health(status="ok")

    @app.get("/readyz", tags=["machine"])
    async def readyz(response: Response) -> Health:
        """Whether requests are taken: 503 while the server stops."""
        if service.gate.is_closed:
            response.status_code = 503
            return Health(status="stopping")
        return Health(status="ok")

    @app.get("/metrics", tags=["machine"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models", tags=["machine"], dependencies=[_let_in(service)])
    async def models() -> ModelList:
        """The model of this server, its labels and what it can do."""
        spec = service.spec
        return ModelList(
            data=[
                Model(
                    id=service.name,
                    labels=list(spec.labels),
                    positive=spec.positive,
                    explains=service.explains,
                    restricted=spec.is_restricted,
                )
            ]
        )


def _add_asking_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/classify", tags=["asking"], dependencies=[_let_in(service)])
    async def classify(body: ClassifyRequest, http: Request) -> ClassifyResponse:
        """Calibrated probabilities and decisions; nothing is generated."""
        wanted = service.wanted(http, None)
        found = await last_answers(service.desk, service.checked(body), wanted, http, service.metrics)
        return ClassifyResponse(model=service.name, results=[Result.of(each.prediction) for each in found])

    @app.post("/v1/explain", tags=["asking"], dependencies=[_let_in(service)])
    async def explain(body: ExplainRequest, http: Request) -> ExplainResponse:
        """The same with the reason. The reason is written after the probability and does not cause it."""
        wanted = service.wanted(http, body)
        found = await last_answers(service.desk, service.checked(body), wanted, http, service.metrics)
        return ExplainResponse(model=service.name, results=[ExplainedResult.of(each.prediction) for each in found])

    @app.post(
        "/v1/explain/stream",
        tags=["asking"],
        dependencies=[_let_in(service)],
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def stream(body: ExplainRequest, http: Request) -> Response:
        """Server-sent events: `probability` of a text first, then pieces of `text`, then `done`."""
        wanted, examples = service.wanted(http, body), service.checked(body)
        found = answers(service.desk, examples, wanted, http, service.metrics)
        first = await anext(found)  # what is refused is refused with its status, before the stream begins
        return StreamingResponse(_events(first, found), media_type="text/event-stream")


async def _events(first: tuple[int, Answer], rest: AsyncIterator[tuple[int, Answer]]) -> AsyncIterator[str]:
    try:
        yield _event(*first)
        async for number, answer in rest:
            yield _event(number, answer)
    except ClsgenError as error:
        yield _sent("error", {"message": str(error)})
    except Gone:
        return


def _event(number: int, answer: Answer) -> str:
    if answer.prediction is None:
        return _sent("text", {"number": number, "text": answer.text})
    if answer.is_last:
        result = ExplainedResult.of(answer.prediction).model_dump()
        return _sent("done", {"number": number, **result, "notice": CONTRACT_SENTENCE})
    return _sent("probability", {"number": number, **Result.of(answer.prediction).model_dump()})


def _sent(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _add_chat_route(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions", tags=["asking"], dependencies=[_let_in(service)], response_model=ChatResponse)
    async def chat(body: ChatRequest, http: Request) -> Any:
        """For OpenAI clients: the only message is the text; the probability is in `clsgen` beside the reason."""
        text = _only_text(body)
        wanted = service.wanted(http, ExplainRequest(texts=[text]))
        examples, number = service.checked(ClassifyRequest(texts=[text])), str(http.scope["request_id"])
        if body.stream:
            found = answers(service.desk, examples, wanted, http, service.metrics)
            first = await anext(found)
            return StreamingResponse(_chunks(number, service.name, first, found), media_type="text/event-stream")
        (answer,) = await last_answers(service.desk, examples, wanted, http, service.metrics)
        result = ExplainedResult.of(answer.prediction)
        choice = ChatChoice(
            message=ChatMessage(content=result.explanation), finish_reason="stop" if result.has_ended else "length"
        )
        return ChatResponse(
            id=f"chatcmpl-{number}",
            created=int(time.time()),
            model=service.name,
            choices=[choice],
            usage=Usage(
                prompt_tokens=answer.num_read,
                completion_tokens=answer.num_written,
                total_tokens=answer.num_read + answer.num_written,
            ),
            clsgen=result,
        )


def _only_text(body: ChatRequest) -> str:
    """The text of the only message.

    Raises:
        HTTPException: Other turns, or content that is no text.
    """
    if [message.role for message in body.messages] != ["user"]:
        raise HTTPException(400, "messages must be one message of the user, the text; other turns are not understood.")
    content = body.messages[0].content
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not all(part.get("type") == "text" and isinstance(part.get("text"), str) for part in parts):
        raise HTTPException(400, "the message must be text alone.")
    text = "".join(part["text"] for part in parts)
    if not text.strip():
        raise HTTPException(400, "the message must not be blank.")
    return text


async def _chunks(
    number: str, model: str, first: tuple[int, Answer], rest: AsyncIterator[tuple[int, Answer]]
) -> AsyncIterator[str]:
    """Chat completion chunks; the first carries the probability, the last the whole answer."""
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": int(time.time()), "model": model}

    def chunk(delta: Mapping[str, Any], reason: str | None = None, **extra: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return f"data: {json.dumps({**head, 'choices': [choice], **extra}, ensure_ascii=False)}\n\n"

    try:
        assert first[1].prediction is not None
        yield chunk({"role": "assistant", "content": ""}, clsgen=Result.of(first[1].prediction).model_dump())
        async for _, answer in rest:
            if answer.prediction is None:
                yield chunk({"content": answer.text})
            else:
                result = ExplainedResult.of(answer.prediction)
                yield chunk({}, "stop" if result.has_ended else "length", clsgen=result.model_dump())
    except ClsgenError as error:
        yield f"data: {json.dumps({'error': {'message': str(error)}})}\n\n"
    except Gone:
        return
    yield "data: [DONE]\n\n"


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ClsgenError)
    async def refused(http: Request, error: ClsgenError) -> JSONResponse:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
        headers = {"retry-after": str(error.retry_after_s)} if isinstance(error, QueueFull) else {}
        return _error(http, status, str(error), headers)

    @app.exception_handler(RequestValidationError)
    async def misshapen(http: Request, error: RequestValidationError) -> JSONResponse:
        return _error(http, 422, _problems(error.errors()))

    @app.exception_handler(StarletteHTTPException)
    async def known(http: Request, error: StarletteHTTPException) -> JSONResponse:
        if error.status_code == 404:
            return _error(http, 404, "there is nothing at this path. /openapi.json says what there is.")
        return _error(http, error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(Gone)
    async def gone(http: Request, error: Gone) -> JSONResponse:
        return _error(http, 499, "the client went away.")

    @app.exception_handler(Exception)
    async def broken(http: Request, error: Exception) -> JSONResponse:
        return _error(http, 500, "the server failed; its log says how.")


def _problems(found: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with a body, without any of its text."""
    return "; ".join(
        f"{'.'.join(str(part) for part in each['loc'][1:]) or 'body'}: {each['msg']}" for each in found[:5]
    )


def _error(http: Request, status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    body = {"error": {"message": message, "type": kind, "request_id": str(http.scope.get("request_id", ""))}}
    return JSONResponse(body, status, dict(headers or {}))
