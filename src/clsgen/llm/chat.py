"""What is asked of a language model and what it answers; whoever can answer is a `Chat`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from clsgen.errors import TeacherError


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question to a language model.

    Attributes:
        messages: (role, content) in order; the roles are those of the model's chat template.
        temperature: 0 takes the likeliest token each time; None leaves it to the server.
        top_p: Share of the probability mass that tokens are drawn from; None leaves it to the server.
        max_tokens: Most tokens that may be written, thinking included.
        seed: Differs between the samples of one prompt; None leaves it to the server.
        schema: JSON schema of the answer, where the endpoint supports it.
    """

    messages: tuple[tuple[str, str], ...]
    temperature: float | None = 0.7
    top_p: float | None = 1.0
    max_tokens: int = 1024
    seed: int | None = None
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What came back.

    Attributes:
        content: The answer alone; "" where the model was cut off while it thought.
        reasoning: What the model thought, from a field of its own or a `<think>` block; None where there is none.
        finish_reason: "stop", "length" or the server's own word; "unknown" where it says none.
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written, thinking included.
        model: The model as the server names it.
        tokens_wasted: What earlier attempts that failed may have cost, at most.
    """

    content: str
    reasoning: str | None
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str
    tokens_wasted: int = 0


class Chat(Protocol):
    """Anything that answers: a server, a local model."""

    @property
    def model(self) -> str:
        """Name of the model that is asked."""

    async def ask(self, request: ChatRequest) -> ChatReply:
        """The answer to `request`.

        Raises:
            TeacherError: There is finally none.
        """
        ...


async def ask_all(open_chat: Callable[[], Chat], requests: Sequence[ChatRequest]) -> list[str | TeacherError]:
    """The content of every answer, or why there is none, in the order of the requests.

    Args:
        open_chat: Gives the chat inside the event loop that it is asked in.
        requests: What is asked.
    """
    chat = open_chat()

    async def one(request: ChatRequest) -> str | TeacherError:
        try:
            return (await chat.ask(request)).content
        except TeacherError as error:
            return error

    return list(await asyncio.gather(*map(one, requests)))
