"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self, *, num_queued: Callable[[], int], num_open: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "clsgen_requests", "Requests by route and status.", ["route", "status"], registry=self.registry
        )
        self.to_probability = Histogram(
            "clsgen_seconds_to_probability",
            "From a request's arrival to its probability.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.to_text = Histogram(
            "clsgen_seconds_to_text", "From arrival to the first text.", buckets=_SECONDS, registry=self.registry
        )
        self._batches = Histogram("clsgen_batch_texts", "Texts read together.", buckets=_BATCH, registry=self.registry)
        self._read_tokens = Counter("clsgen_read_tokens", "Prompt tokens read.", registry=self.registry)
        self._written = Counter("clsgen_written_tokens", "Tokens of reasons written.", registry=self.registry)
        Gauge("clsgen_queued_texts", "Texts that wait to be read.", registry=self.registry).set_function(num_queued)
        Gauge("clsgen_open_texts", "Texts that have not had their last answer.", registry=self.registry).set_function(
            num_open
        )

    def count(self, route: str, status: str) -> None:
        """A request was answered."""
        self._requests.labels(route, status).inc()

    def read(self, num_texts: int, num_tokens: int) -> None:
        """A batch was read."""
        self._batches.observe(num_texts)
        self._read_tokens.inc(num_tokens)

    def wrote(self, num_tokens: int) -> None:
        """Tokens were written."""
        self._written.inc(num_tokens)

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
