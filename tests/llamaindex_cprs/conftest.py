"""Compressors without a model, the options of a real one that is tiny (random weights), and LlamaIndex's events."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler

sys.path.insert(0, str(Path(__file__).parents[1]))
from fakes import FakeCompressor
from words import WordCompressor


@pytest.fixture
def fake() -> FakeCompressor:
    return FakeCompressor()


@pytest.fixture
def words() -> WordCompressor:
    return WordCompressor()


@pytest.fixture
def tiny_options(tiny_path: Path) -> dict[str, Any]:
    return {"model": tiny_path, "device": "cpu", "window_size": 256}


class Events(BaseEventHandler):
    received: list[Any]

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.received.append(event)


@pytest.fixture
def events() -> Iterator[list[Any]]:
    """All events, as they come."""
    root = get_dispatcher()
    handler = Events(received=[])
    root.add_event_handler(handler)
    yield handler.received
    root.event_handlers.remove(handler)
