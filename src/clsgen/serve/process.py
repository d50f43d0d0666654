"""A process that serves until it is told to stop, and then ends what it began."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI

from clsgen.serve.guard import Gate, named
from clsgen.serve.settings import ServeSettings

_LAST_WORDS_S = 1.0
"""For the answers of those who were given up."""


def run(
    app: FastAPI,
    settings: ServeSettings,
    gate: Gate,
    *,
    on_start: Callable[[str], None],
    give_up: Callable[[], None] = lambda: None,
) -> bool:
    """Serve an application that stands behind a `Guard`, until it is told to stop.

    Args:
        app: The application.
        settings: Where it listens, and how long it may take to end.
        gate: The guard's; closed by the first signal.
        on_start: Called with the address once requests are taken.
        give_up: Called when the time to end is over: whatever is in flight is to be answered at once.

    Returns:
        Whether every request that was taken was answered in time.
    """
    log_lines()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=65536,
    )
    server = _Server(config, gate, settings, on_start, give_up)
    server.run()
    return server.has_answered_all


class _Server(uvicorn.Server):
    """Refuses new requests when it is told to stop, and stops when those in flight have ended."""

    def __init__(
        self,
        config: uvicorn.Config,
        gate: Gate,
        settings: ServeSettings,
        on_start: Callable[[str], None],
        give_up: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._gate, self._settings, self._on_start, self._give_up = gate, settings, on_start, give_up
        self._stops_at = float("inf")
        self._silent_since: dict[Any, float] = {}
        self.has_answered_all = True

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Listen, and say where."""
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.servers:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._on_start(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal closes the gate, the second one ends everything."""
        if self._gate.is_closed:
            super().handle_exit(sig, frame)
            return
        self._gate.is_closed = True
        self._stops_at = time.monotonic() + self._settings.drain_s

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop."""
        gate, now = self._gate, time.monotonic()
        if now > self._stops_at and self.has_answered_all and gate.num_in_flight:
            self.has_answered_all = False
            self._give_up()
        if gate.is_closed and (not gate.num_in_flight or now > self._stops_at + _LAST_WORDS_S):
            self.should_exit = True
        self._hang_up(now)
        return bool(await super().on_tick(counter))

    def _hang_up(self, now: float) -> None:
        """End connections on which no request has come in for as long as a body may take."""
        silent = [each for each in self.server_state.connections if getattr(each, "cycle", None) is None]
        self._silent_since = {each: self._silent_since.get(each, now) for each in silent}
        for each, since in self._silent_since.items():
            transport = getattr(each, "transport", None)
            if transport is not None and now - since > self._settings.body_timeout_s:
                transport.close()


class _LogLines(logging.Handler):
    """What libraries log becomes a line of JSON like the others; of an error its kind and place, not its words."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        error = record.exc_info[1] if record.exc_info else None
        about = {} if error is None else named(error)
        structlog.get_logger(record.name).log(record.levelno, record.getMessage(), **about)


def log_lines() -> None:
    """One line of JSON an event, on standard error; never a text that somebody sent."""
    logging.basicConfig(handlers=[_LogLines(logging.WARNING)], force=True)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
