"""What ``GET /metrics`` tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The figures of one service; each has a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("cprs_requests", "Requests answered", ["route", "status"], registry=registry)
        self._seconds = Histogram("cprs_request_seconds", "Seconds", ["route"], registry=registry, buckets=_SECONDS)
        self._windows = Counter("cprs_windows", "Windows run through the model", registry=registry)
        self._batches = Counter("cprs_batches", "Batches run through the model", registry=registry)
        self._model = Counter("cprs_model_tokens", "Tokens run through the model, prompts included", registry=registry)
        self._tokens = Counter("cprs_tokens", "Tokens of texts", ["kind"], registry=registry)
        for kind in ("in", "kept"):
            self._tokens.labels(kind)

    def watch(self, queued: Callable[[], int], in_flight: Callable[[], int]) -> None:
        """Where the two figures of the moment come from."""
        Gauge("cprs_queue_windows", "Windows that wait", registry=self._registry).set_function(queued)
        Gauge("cprs_in_flight", "Requests at work", registry=self._registry).set_function(in_flight)

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, windows: int, tokens: int) -> None:
        self._batches.inc()
        self._windows.inc(windows)
        self._model.inc(tokens)

    def texts(self, tokens: int, kept: int) -> None:
        self._tokens.labels("in").inc(tokens)
        self._tokens.labels("kept").inc(kept)

    def page(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
