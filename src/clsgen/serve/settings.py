"""What a server keeps to: where it listens, who may ask, and how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import MappingProxyType

from clsgen.errors import ConfigError

_PACKAGES = ("fastapi", "fastapi_offline", "uvicorn", "prometheus_client", "structlog")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_LEAST: Mapping[str, tuple[str, float]] = MappingProxyType(
    {
        "port": ("--port", 0),
        "max_body_bytes": ("--max-body-bytes", 1),
        "max_texts": ("--max-texts", 1),
        "max_tokens": ("--max-tokens", 1),
        "max_queued": ("--max-queued", 1),
        "batch_tokens": ("--batch-tokens", 1),
        "deadline_s": ("--deadline", 0.001),
        "body_timeout_s": ("--body-timeout", 0.001),
        "drain_s": ("--drain", 0),
    }
)
"""The option of a limit, and the least that it may be."""


def check_packages() -> None:
    """Refuse what can't be served, before anything of the server is imported.

    Raises:
        ConfigError: Packages of the extra `serve` are not installed.
    """
    missing = [name.replace("_", "-") for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(f"serve: {', '.join(missing)} must be installed. Run: pip install 'clsgen[serve]'")


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Limits of a server; the command's options.

    Attributes:
        host: Address it listens on.
        port: Port; 0: any that is free.
        keys: SHA-256 of each key that may ask, in hex; () lets everybody.
        origins: Origins that browsers may ask from (CORS); () for none but the page itself.
        names: Host names by which it may be asked besides this machine's own, where neither a key nor the address keeps
            others out; "*": any.
        max_body_bytes: Longest request body.
        max_texts: Texts in one request.
        max_tokens: Longest text, what is asked of it included.
        max_queued: Texts that wait to be read; further ones get 429.
        batch_tokens: Tokens read at a time, between two steps of the reasons that are being written.
        deadline_s: Seconds after which a request that has not ended is given up.
        body_timeout_s: Seconds in which a body must have come in.
        drain_s: Seconds that requests in flight have to end when the server is told to stop.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[str, ...] = field(default=(), repr=False)
    origins: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    max_body_bytes: int = 1_000_000
    max_texts: int = 64
    max_tokens: int = 32_768
    max_queued: int = 256
    batch_tokens: int = 4096
    deadline_s: float = 120.0
    body_timeout_s: float = 20.0
    drain_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse limits that are none.

        Raises:
            ConfigError: One that is below its least.
        """
        for name, (option, least) in _LEAST.items():
            value = getattr(self, name)
            if not least <= value < float("inf"):
                raise ConfigError(f"serve: {option} must be {least:g} or more; got {value}. Give another.")
        if self.port > 65_535:
            raise ConfigError(f"serve: --port must be at most 65535; got {self.port}. Give another.")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in _LOOPBACK

    def knows(self, host: str) -> bool:
        """Whether a request may be meant for this server, by its Host header.

        A page of another site can make a name of its own mean this machine, and then ask in the reader's browser. A
        key, which such a page does not have, keeps it out; without one the name must be known.
        """
        name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
        is_any = bool(self.keys) or not self.is_loopback or "*" in self.names
        return is_any or name.lower() in (*_LOOPBACK, *self.names)
