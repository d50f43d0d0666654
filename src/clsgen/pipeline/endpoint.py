"""A server named on the command line: who is asked, and whether the texts may go there."""

from __future__ import annotations

import os
from typing import NamedTuple

from clsgen.errors import ConfigError
from clsgen.llm.client import OpenAIChat
from clsgen.llm.settings import ChatSettings


class Endpoint(NamedTuple):
    """Address, model, name of the variable that holds the key, hosts that count as local, requests under way."""

    address: str
    model: str
    api_key_env: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    concurrency: int = 8

    def open(self, *, is_restricted: bool) -> OpenAIChat:
        """A client; to be called inside the event loop that it is asked in.

        Raises:
            ConfigError: The variable of the key is not set.
            RestrictedError: Restricted texts, and a host where they may not go.
        """
        settings = ChatSettings(
            concurrency=self.concurrency, is_restricted=is_restricted, allowed_hosts=self.allowed_hosts
        )
        return OpenAIChat(self.address, self.model, api_key=self._key(), settings=settings)

    def _key(self) -> str | None:
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env)
        if key is None:
            raise ConfigError(f"endpoint: {self.api_key_env} must be set in the environment; it is not.")
        return key
