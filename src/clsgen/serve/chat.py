"""The route that OpenAI clients ask: a chat of one message, whose answer is the reason."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse

from clsgen.errors import ClsgenError
from clsgen.serve.asking import answers, last_answers
from clsgen.serve.desk import Answer
from clsgen.serve.errors import Gone
from clsgen.serve.schemas import (
    ChatChoice,
    ChatMessage,
    ChatRequest,
    ChatResponse,
    ClassifyRequest,
    ErrorResponse,
    ExplainRequest,
    Usage,
)
from clsgen.serve.service import Service, let_in

_CHUNK = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "description": "A chat completion chunk in JSON, or [DONE]."}},
}


def add_chat_route(app: FastAPI, service: Service) -> None:
    """POST /v1/chat/completions."""

    @app.post(
        "/v1/chat/completions",
        tags=["asking"],
        dependencies=[let_in(service)],
        response_model=ChatResponse,
        responses={
            200: {"content": {"text/event-stream": {"schema": _CHUNK}}},
            404: {"model": ErrorResponse, "description": "Another model than the one that is here."},
        },
    )
    async def chat(body: ChatRequest, http: Request) -> Any:
        """For OpenAI clients: the only message is the text; the probability is in `clsgen` beside the reason."""
        if body.model not in ("", service.name):
            raise HTTPException(404, f"there is one model here, {service.name!r}; another was asked for.")
        text = _only_text(body)
        wanted = service.wanted(http, ExplainRequest(texts=[text]))
        examples, number = service.checked(ClassifyRequest(texts=[text])), str(http.scope["request_id"])
        if body.stream:
            found = answers(service.desk, examples, wanted, http, service.metrics)
            first = await anext(found)
            return StreamingResponse(_chunks(number, text, service, first, found), media_type="text/event-stream")
        (answer,) = await last_answers(service.desk, examples, wanted, http, service.metrics)
        result = service.results.explained(answer.prediction, text)
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
    if text.encode(errors="ignore").decode() != text:
        raise HTTPException(400, "the message must be Unicode text; half of a surrogate pair stands in it.")
    return text


async def _chunks(
    number: str, text: str, service: Service, first: tuple[int, Answer], rest: AsyncIterator[tuple[int, Answer]]
) -> AsyncIterator[str]:
    """Chat completion chunks; the first carries the probability, the last the whole answer."""
    head = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": service.name,
    }

    def chunk(delta: Mapping[str, Any], reason: str | None = None, **extra: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return f"data: {json.dumps({**head, 'choices': [choice], **extra}, ensure_ascii=False)}\n\n"

    try:
        result = service.results.plain(first[1].prediction)
        yield chunk({"role": "assistant", "content": ""}, clsgen=result.model_dump())
        async for _, answer in rest:
            if answer.prediction is None:
                yield chunk({"content": answer.text})
            else:
                whole = service.results.explained(answer.prediction, text)
                yield chunk({}, "stop" if whole.has_ended else "length", clsgen=whole.model_dump())
    except ClsgenError as error:
        yield f"data: {json.dumps({'error': {'message': str(error)}})}\n\n"
    except Gone:
        return
    yield "data: [DONE]\n\n"
