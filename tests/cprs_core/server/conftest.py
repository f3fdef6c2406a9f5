"""A service around the tiny critic, as slow as a test wants it: in the process, and on a port of this machine."""

import copy
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from cprs_core.engine import Engine
from cprs_core.server.app import create_app
from cprs_core.server.listener import make
from cprs_core.server.settings import Settings

TINY_DATA = Path(__file__).parents[2] / "data"


class Brake:
    """A scorer that takes some seconds more for each batch, or waits until it is let go."""

    def __init__(self, scorer, seconds=0.0):
        self.scorer, self.seconds, self.batches, self.error = scorer, seconds, 0, None
        self.device, self.token_bytes = scorer.device, scorer.token_bytes
        self.free = threading.Event()
        self.free.set()

    def score(self, windows, memory):
        self.free.wait(30)
        time.sleep(self.seconds)
        self.batches += 1
        if self.error is not None:
            raise copy.copy(self.error)
        return self.scorer.score(windows, memory)


def slowed(compressor, seconds=0.0):
    """The compressor with a brake, and the brake."""
    brake = Brake(compressor.engine.scorers[0], seconds)
    slow = copy.copy(compressor)
    slow.engine = Engine([brake], batch_tokens=400)
    return slow, brake


@contextmanager
def living(compressor, **settings):
    """A server in a thread. Yields it with ``url`` and ``service``; it is stopped in the end."""
    app = create_app(compressor, Settings(**settings))
    listener = socket.create_server(("127.0.0.1", 0))
    server = make(app, "warning")
    server.url, server.service = f"http://127.0.0.1:{listener.getsockname()[1]}", app.state.service
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    server.thread = thread
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def until(condition, seconds=10):
    """Waits for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


@pytest.fixture(scope="package")
def live(compressor):
    with living(compressor, deadline=30) as server:
        yield server


@pytest.fixture(scope="package")
def http(compressor, http_of):
    return http_of(compressor)


@pytest.fixture(scope="package")
def http_of():
    """Makes services in the process: of a compressor, with any settings."""
    with ExitStack() as stack:

        def start(made, **settings):
            app = create_app(made, Settings(**settings))
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield start
