"""Sends requests, a bounded number at a time, and keeps each answer when it arrives."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from clsgen.data.teacher.asks import Ask
from clsgen.data.teacher.store import Store
from clsgen.errors import BudgetError, TeacherError
from clsgen.llm.chat import Chat
from clsgen.llm.limits import Tokens

MOST_FAILURES_IN_A_ROW = 20
"""After so many failures of one kind with no answer between, the endpoint is taken to be gone."""


@dataclass(slots=True)
class Progress:
    """Requests so far.

    Attributes:
        num_done: Answered, failed or found answered.
        num_found: Of these, answered by an earlier run.
        num_failed: Of these, finally failed.
        tokens: Tokens of the answers of this run.
        causes: Why requests failed, in the words of the error -> how many.
    """

    num_done: int = 0
    num_found: int = 0
    num_failed: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    causes: Counter[str] = field(default_factory=Counter)


async def ask_all(
    chat: Chat,
    asks: Iterable[Ask],
    store: Store,
    *,
    concurrency: int,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Answer every request that the store has no answer for; nothing is kept in memory but those under way.

    Args:
        chat: Who answers.
        asks: The requests, made one at a time as they are needed.
        store: Where answers are kept.
        concurrency: Requests under way at a time.
        on_progress: Called after each request.

    Raises:
        BudgetError: The budget is spent; requests under way were let end, and their answers are kept.
        TeacherError: The endpoint is gone: only failures of one kind for a while.
    """
    waiting, progress = iter(asks), Progress()
    row_of_failures, stops = list[str](), list[TeacherError]()

    async def work() -> None:
        for ask in waiting:
            if stops:
                return
            if store.has(ask.key):
                progress.num_found += 1
            else:
                try:
                    reply = await chat.ask(ask.request)
                except BudgetError as error:
                    stops.append(error)
                    return
                except TeacherError as error:
                    store.put_failure(ask, error.reason, tokens_charged=error.tokens_charged)
                    progress.num_failed += 1
                    progress.causes[str(error)] += 1
                    row_of_failures.append(error.reason)
                    if len(row_of_failures) >= MOST_FAILURES_IN_A_ROW and len(set(row_of_failures)) == 1:
                        stops.append(error)
                        return
                else:
                    store.put(ask, reply)
                    row_of_failures.clear()
                    progress.tokens += Tokens(reply.prompt_tokens, reply.completion_tokens)
            progress.num_done += 1
            on_progress(progress)

    workers = [asyncio.create_task(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
    if stops:
        raise stops[0]
    return progress
