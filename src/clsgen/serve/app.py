"""The routes: classify, explain, stream, chat, and what a machine asks of a server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

import clsgen
from clsgen.errors import ClsgenError
from clsgen.serve.asking import answers, last_answers
from clsgen.serve.chat import add_chat_route
from clsgen.serve.desk import Answer
from clsgen.serve.errors import Gone, add_errors
from clsgen.serve.guard import Guard
from clsgen.serve.page import add_pages
from clsgen.serve.schemas import (
    ClassifyRequest,
    ClassifyResponse,
    ErrorResponse,
    ExplainRequest,
    ExplainResponse,
    Health,
    Limits,
    Model,
    ModelList,
)
from clsgen.serve.service import Service, let_in
from clsgen.types import CONTRACT_SENTENCE, Example

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "A body that can't be read, a chat that is none, or another host."},
    401: {"model": ErrorResponse, "description": "No key, or one that is not known."},
    408: {"model": ErrorResponse, "description": "A body that came in too slowly."},
    413: {"model": ErrorResponse, "description": "A body that is too long."},
    422: {"model": ErrorResponse, "description": "A field that is not what it must be, too many or too long texts."},
    429: {"model": ErrorResponse, "description": "Too many texts wait already; Retry-After says when to come again."},
    500: {"model": ErrorResponse, "description": "The model failed."},
    503: {"model": ErrorResponse, "description": "The server is stopping."},
    504: {"model": ErrorResponse, "description": "The deadline passed."},
}
_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["probability", "text", "done", "error"]},
        "data": {
            "type": "string",
            "description": "JSON. probability: `number` of the text and the fields of Result. text: `number`, `text`. "
            "done: `number`, the fields of ExplainedResult, `notice`. error: `message`; it ends the stream.",
        },
    },
}


def make_app(service: Service) -> FastAPI:
    """The application of a server.

    Args:
        service: The model and its limits.
    """
    app = _routes(service)
    app.add_middleware(Guard, settings=service.settings, count=service.metrics.count, gate=service.gate)
    if service.settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id"],
        )
    return app


def description() -> dict[str, Any]:
    """The OpenAPI description, which is the same for every model."""
    return _routes(cast("Service", None)).openapi()  # nothing is asked of it


def _routes(service: Service) -> FastAPI:
    app = FastAPI(
        title="clsgen",
        version=clsgen.__version__,
        description="A calibrated probability, and the reason in words. " + CONTRACT_SENTENCE,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        openapi_tags=[{"name": "asking", "description": "Texts."}, {"name": "machine", "description": "The server."}],
        responses=_REFUSALS,
    )
    add_errors(app)
    _add_machine_routes(app, service)
    _add_asking_routes(app, service)
    add_chat_route(app, service)
    add_pages(app)
    return app


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

    @app.get("/v1/models", tags=["machine"], dependencies=[let_in(service)])
    async def models() -> ModelList:
        """The model of this server, its labels and what it can do."""
        spec = service.spec
        return ModelList(
            data=[
                Model(
                    id=service.name,
                    labels=list(spec.labels),
                    positive=spec.positive,
                    instruction=spec.instruction,
                    explains=service.explains,
                    restricted=spec.is_restricted,
                    limits=Limits(
                        texts=service.max_texts,
                        tokens=service.settings.max_tokens,
                        body_bytes=service.settings.max_body_bytes,
                        queued=service.settings.max_queued,
                    ),
                )
            ]
        )


def _add_asking_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/classify", tags=["asking"], dependencies=[let_in(service)])
    async def classify(body: ClassifyRequest, http: Request) -> ClassifyResponse:
        """Calibrated probabilities and decisions; nothing is generated."""
        wanted = service.wanted(http, None)
        found = await last_answers(service.desk, service.checked(body), wanted, http, service.metrics)
        return ClassifyResponse(model=service.name, results=[service.results.plain(each.prediction) for each in found])

    @app.post("/v1/explain", tags=["asking"], dependencies=[let_in(service)])
    async def explain(body: ExplainRequest, http: Request) -> ExplainResponse:
        """The same with the reason. The reason is written after the probability and does not cause it."""
        wanted = service.wanted(http, body)
        examples = service.checked(body)
        found = await last_answers(service.desk, examples, wanted, http, service.metrics)
        results = [
            service.results.explained(each.prediction, example.document)
            for each, example in zip(found, examples, strict=True)
        ]
        return ExplainResponse(model=service.name, results=results)

    @app.post(
        "/v1/explain/stream",
        tags=["asking"],
        dependencies=[let_in(service)],
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": _EVENT}}}},
    )
    async def stream(body: ExplainRequest, http: Request) -> Response:
        """Server-sent events: `probability` of a text first, then pieces of `text`, then `done`."""
        wanted, examples = service.wanted(http, body), service.checked(body)
        found = answers(service.desk, examples, wanted, http, service.metrics)
        first = await anext(found)  # what is refused is refused with its status, before the stream begins
        return StreamingResponse(_events(service, examples, first, found), media_type="text/event-stream")


async def _events(
    service: Service,
    examples: Sequence[Example],
    first: tuple[int, Answer],
    rest: AsyncIterator[tuple[int, Answer]],
) -> AsyncIterator[str]:
    try:
        yield _event(service, examples, *first)
        async for number, answer in rest:
            yield _event(service, examples, number, answer)
    except ClsgenError as error:
        yield _sent("error", {"message": str(error)})
    except Gone:
        return


def _event(service: Service, examples: Sequence[Example], number: int, answer: Answer) -> str:
    if answer.prediction is None:
        return _sent("text", {"number": number, "text": answer.text})
    if answer.is_last:
        result = service.results.explained(answer.prediction, examples[number].document).model_dump()
        return _sent("done", {"number": number, **result, "notice": CONTRACT_SENTENCE})
    return _sent("probability", {"number": number, **service.results.plain(answer.prediction).model_dump()})


def _sent(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
