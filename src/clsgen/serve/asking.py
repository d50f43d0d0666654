"""Between a request on the event loop and the desk's thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from fastapi import Request as HttpRequest

from clsgen.serve.desk import Answer, Desk, Request
from clsgen.serve.errors import Gone
from clsgen.serve.metrics import Metrics
from clsgen.types import Example, ExplanationMode


class Wanted(NamedTuple):
    """What is asked of texts. explains: whether reasons are wanted. seconds: by when."""

    explains: bool
    mode: ExplanationMode
    seconds: float
    client: str


async def answers(
    desk: Desk, examples: Sequence[Example], wanted: Wanted, http: HttpRequest, metrics: Metrics
) -> AsyncIterator[tuple[int, Answer]]:
    """Number of the text and an answer to it, as they are made; ends when every text has its last one.

    Raises:
        ClsgenError: The texts are not taken, or the model failed.
        Gone: The client went away; its texts are given up.
    """
    started = time.monotonic()
    loop = asyncio.get_running_loop()
    found: asyncio.Queue[tuple[int, Answer]] = asyncio.Queue()

    def deliver(number: int, answer: Answer) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(found.put_nowait, (number, answer))

    requests = [
        Request(
            wanted.client,
            example,
            lambda answer, number=number: deliver(number, answer),  # type: ignore[misc]
            wanted.explains,
            wanted.mode,
            started + wanted.seconds,
            wanted.seconds,
        )
        for number, example in enumerate(examples)
    ]
    keys = await asyncio.to_thread(desk.submit, requests)
    left = asyncio.create_task(_leaving(http))
    num_open, has_text = len(keys), False
    try:
        while num_open:
            number, answer = await _next(found, left)
            if answer.error is not None:
                raise answer.error
            num_open -= answer.is_last
            if answer.prediction is not None and answer.prediction.explanation is None:
                metrics.to_probability.observe(time.monotonic() - started)
            if answer.text and not has_text:
                has_text = True
                metrics.to_text.observe(time.monotonic() - started)
            yield number, answer
    finally:
        left.cancel()
        for key in keys:
            desk.cancel(key)


async def last_answers(
    desk: Desk, examples: Sequence[Example], wanted: Wanted, http: HttpRequest, metrics: Metrics
) -> list[Answer]:
    """Each text's whole answer, in their order; errors as for `answers`."""
    whole: dict[int, Answer] = {}
    async for number, answer in answers(desk, examples, wanted, http, metrics):
        if answer.is_last:
            whole[number] = answer
    return [whole[number] for number in range(len(examples))]


async def _next(found: asyncio.Queue[tuple[int, Answer]], left: asyncio.Task[None]) -> tuple[int, Answer]:
    getting = asyncio.create_task(found.get())
    try:
        await asyncio.wait({getting, left}, return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            return getting.result()
    finally:
        getting.cancel()
    raise Gone


async def _leaving(http: HttpRequest) -> None:
    """Ends when the client goes away."""
    while (await http.receive())["type"] != "http.disconnect":
        pass
