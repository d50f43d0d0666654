"""How an endpoint is asked, and what bounds the requests: plain values, checked where they are given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clsgen.errors import ConfigError
from clsgen.llm.limits import Budget, RateLimit

_OWN_FIELDS = {
    "model",
    "messages",
    "temperature",
    "top_p",
    "seed",
    "response_format",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stream",
}


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """How an endpoint is asked.

    Attributes:
        concurrency: Most requests under way at a time, those that wait to be sent again included.
        num_attempts: Most times one request is sent; 408, 409, 429, 5xx, timeouts and lost connections are tried again.
        timeout_seconds: How long one attempt may take from sending to the last byte.
        wait_initial_seconds: Wait before the second attempt; doubles with each.
        wait_max_seconds: Longest wait of our own choice.
        retry_after_max_seconds: Longest wait that the server may ask for; one that asks for more is not asked again.
        max_tokens_field: What the server calls `max_tokens`; OpenAI's reasoning models say max_completion_tokens.
        extra_body: Further fields of each request, such as chat_template_kwargs of vLLM.
        is_restricted: Whether the texts are under an access agreement.
        allowed_hosts: Hosts, without port, that restricted texts may go to besides this machine.

    Raises:
        ConfigError: `extra_body` holds a field that each request sets by itself.
    """

    concurrency: int = 8
    num_attempts: int = 6
    timeout_seconds: float = 600.0
    wait_initial_seconds: float = 1.0
    wait_max_seconds: float = 60.0
    retry_after_max_seconds: float = 900.0
    max_tokens_field: str = "max_tokens"
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    is_restricted: bool = False
    allowed_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        own = sorted(_OWN_FIELDS & set(self.extra_body))
        if own:
            raise ConfigError(
                "extra_body: the fields must be others than those that each request sets by itself; "
                f"got {own!r}. Leave them out."
            )


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the requests of all clients that are given it: how many a minute, and what they may cost."""

    rate: RateLimit = field(default_factory=RateLimit)
    budget: Budget = field(default_factory=Budget)


def check_key(api_key: str | None) -> None:
    """Refuse a key that can't stand in a header; the error of the HTTP library would show it.

    Raises:
        ConfigError: The key is empty, or holds blanks or characters beyond ASCII.
    """
    if api_key is not None and not re.fullmatch(r"[!-~]+", api_key):
        raise ConfigError(
            "api_key: the key must be printable ASCII without blanks; the one given, not shown here, is not. "
            "Copy it again, or leave it out where the server needs none."
        )
