"""A service around the tiny critic, as slow as a test wants it: in the process, and on a port of this machine."""

import socket
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from fakes import until
from fastapi.testclient import TestClient

from cprs_core.server.app import create_app
from cprs_core.server.listener import make
from cprs_core.server.settings import Settings

TINY_DATA = Path(__file__).parents[2] / "data"


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
