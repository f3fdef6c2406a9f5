"""Compressors without a model, and the options of a real one that is tiny (random weights)."""

import sys
from pathlib import Path
from typing import Any

import pytest

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
