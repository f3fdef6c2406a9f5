"""A provider that notes what it is sent, a proxy before it, and both as real servers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from fakes import running
from provider import Provider
from words import WordCompressor

from cprs_core.proxy.app import create_proxy
from cprs_core.proxy.settings import Settings

UPSTREAM = "http://provider.test"


@pytest.fixture
def compressor() -> WordCompressor:
    return WordCompressor()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def client(compressor: WordCompressor, provider: Provider) -> Callable[..., httpx.AsyncClient]:
    """Makes clients of a new proxy, all in this process; the arguments are those of Settings."""

    def make(**settings: Any) -> httpx.AsyncClient:
        chosen = Settings(UPSTREAM, **{"min_tokens": 20, **settings})
        proxy = create_proxy(compressor, chosen, transport=httpx.ASGITransport(provider.app))
        return httpx.AsyncClient(transport=httpx.ASGITransport(proxy), base_url="http://proxy.test")

    return make


@pytest.fixture
def servers(compressor: WordCompressor, provider: Provider) -> Iterator[str]:
    """The URL of a proxy before the provider, over real connections."""

    @contextmanager
    def both() -> Iterator[str]:
        with (
            running(provider.app) as upstream,
            running(create_proxy(compressor, Settings(upstream, min_tokens=20))) as url,
        ):
            yield url

    with both() as url:
        yield url
