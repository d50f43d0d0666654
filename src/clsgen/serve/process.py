"""A process that serves until it is told to stop, and then ends what it began."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from clsgen.serve.guard import Gate
from clsgen.serve.settings import ServeSettings


def run(app: FastAPI, settings: ServeSettings, gate: Gate, *, on_start: Callable[[str], None]) -> bool:
    """Serve an application that stands behind a `Guard`, until it is told to stop.

    Args:
        app: The application.
        settings: Where it listens, and how long it may take to end.
        gate: The guard's; closed by the first signal.
        on_start: Called with the address once requests are taken.

    Returns:
        Whether every request that was taken was answered.
    """
    _log_lines()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=65536,
    )
    server = _Server(config, gate, settings.drain_s, on_start)
    server.run()
    return server.has_answered_all


class _Server(uvicorn.Server):
    """Refuses new requests when it is told to stop, and stops when those in flight have ended."""

    def __init__(self, config: uvicorn.Config, gate: Gate, drain_s: float, on_start: Callable[[str], None]) -> None:
        super().__init__(config)
        self._gate, self._drain_s, self._on_start = gate, drain_s, on_start
        self._stops_at = float("inf")
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
        self._stops_at = time.monotonic() + self._drain_s

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop."""
        gate = self._gate
        if gate.is_closed and (not gate.num_in_flight or time.monotonic() > self._stops_at):
            self.has_answered_all = not gate.num_in_flight
            self.should_exit = True
        return bool(await super().on_tick(counter))


def _log_lines() -> None:
    """One line of JSON an event, on standard error; never a text that somebody sent."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
