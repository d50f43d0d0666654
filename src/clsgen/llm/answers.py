"""The reply in an endpoint's answer, and how many tokens a request takes."""

from __future__ import annotations

import json
import math
from typing import Any

from clsgen.llm.chat import ChatReply, ChatRequest
from clsgen.llm.limits import Tokens

BYTES_PER_TOKEN = 4
"""An estimate, for answers without a usage; English prose has 4 to 5 bytes a token in current vocabularies."""

_WORST_OVERHEAD_TOKENS = 256
"""What a chat template may add by itself: role markers, a system prompt of its own."""

_MOST_TOKENS = 2**40
"""A usage beyond it is no count."""


def expected_tokens(request: ChatRequest) -> int:
    """Tokens a request is likely to read and may write: 4 bytes a token, and `max_tokens`."""
    return _estimate(text_of(request)) + request.max_tokens


def worst_tokens(request: ChatRequest) -> Tokens:
    """Tokens that a request can't pass: one a byte read (no byte-level vocabulary has more), and `max_tokens`."""
    schema = "" if request.schema is None else json.dumps(request.schema)
    num_bytes = len(text_of(request).encode("utf-8", "surrogatepass")) + len(schema)
    return Tokens(num_bytes + _WORST_OVERHEAD_TOKENS, request.max_tokens)


def has_usage(completion: Any) -> bool:
    """Whether the server counted the tokens itself."""
    return _count(completion, "prompt_tokens") is not None and _count(completion, "completion_tokens") is not None


def read_reply(completion: Any, request: ChatRequest, model: str) -> ChatReply:
    """The reply in a chat completion.

    Args:
        completion: What the SDK made of the server's answer.
        request: What was asked, for an estimate of the tokens where the server didn't count them.
        model: Name of the model where the server gives none.

    Raises:
        ValueError: It is no chat completion; the message says what is missing, and nothing of the texts.
    """
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise ValueError("an answer without choices")
    message = getattr(choices[0], "message", None)
    content = getattr(message, "content", None)
    if message is None or not isinstance(content, str | None):
        raise ValueError("a choice without a message in words")
    content = whole(content or "")
    fields = [getattr(message, name, None) for name in ("reasoning_content", "reasoning")]
    separate = next((whole(field) for field in fields if isinstance(field, str) and field.strip()), None)
    thought, answer = split_thinking(content)
    thoughts = [part.strip() for part in (separate, thought) if part is not None and part.strip()]
    num_read = _count(completion, "prompt_tokens")
    num_written = _count(completion, "completion_tokens")
    return ChatReply(
        content=answer,
        reasoning="\n".join(thoughts) or None,
        finish_reason=_word(choices[0], "finish_reason", "unknown"),
        prompt_tokens=_estimate(text_of(request)) if num_read is None else num_read,
        completion_tokens=_estimate((separate or "") + content) if num_written is None else num_written,
        model=_word(completion, "model", model),
    )


def split_thinking(content: str) -> tuple[str | None, str]:
    """What was thought in `<think>` blocks, None where there is none, and the answer that follows the last of them.

    Some templates open the block in the prompt, so that only its end is in the content. A block that is never closed
    leaves no answer.

    >>> split_thinking("<think>2 + 2</think> Four.")
    ('2 + 2', 'Four.')
    >>> split_thinking("<think>2 + ")
    ('2 + ', '')
    """
    thought, end, answer = content.rpartition("</think>")
    if "<think>" in answer:
        thought, answer = content, ""
    elif not end:
        return None, content
    return thought.replace("</think>", "").replace("<think>", ""), answer.strip()


def text_of(request: ChatRequest) -> str:
    """The contents of the messages, a line break between them."""
    return "\n".join(content for _, content in request.messages)


def _count(completion: Any, name: str) -> int | None:
    """A count of the usage; None where it is missing or 0, which no answer takes."""
    value = getattr(getattr(completion, "usage", None), name, None)
    return value if isinstance(value, int) and 0 < value <= _MOST_TOKENS else None


def whole(text: str) -> str:
    r"""A text that can be written to a file: half a surrogate pair, as a cut answer may end with, becomes a mark.

    >>> whole("so it is \ud83d")
    'so it is \ufffd'
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _word(holder: Any, name: str, default: str) -> str:
    value = getattr(holder, name, None)
    return whole(value) if isinstance(value, str) and value else default


def _estimate(text: str) -> int:
    return max(1, math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN))
