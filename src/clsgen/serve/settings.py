"""What a server keeps to: where it listens, who may ask, and how much."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Limits of a server; the command's options.

    Attributes:
        host: Address it listens on.
        port: Port; 0: any that is free.
        keys: SHA-256 of each key that may ask, in hex; () lets everybody.
        origins: Origins that browsers may ask from (CORS); () for none but the page itself.
        max_body_bytes: Longest request body.
        max_texts: Texts in one request.
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
    max_body_bytes: int = 1_000_000
    max_texts: int = 64
    max_queued: int = 256
    batch_tokens: int = 4096
    deadline_s: float = 120.0
    body_timeout_s: float = 20.0
    drain_s: float = 60.0

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in ("127.0.0.1", "::1", "localhost")
