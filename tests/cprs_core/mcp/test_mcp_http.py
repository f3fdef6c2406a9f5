"""The server on a port, with the SDK's client: who gets in, and that it is the same server."""

from __future__ import annotations

import json

import anyio
import httpx
import httpx2
import pytest
from fakes import running, slowed
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from cprs_core.mcp.http import create_app
from cprs_core.mcp.server import create_server
from cprs_core.mcp.worker import Local, Remote
from cprs_core.server.app import create_app as create_service
from cprs_core.server.auth import Keys

KEY = "k" * 20
QUERY = "When does it end?"
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


def app(worker, keys=(), names=("127.0.0.1",), max_bytes=100_000):
    return create_app(create_server(worker, max_bytes=max_bytes), Keys(keys), names, max_bytes=max_bytes)


@pytest.fixture(scope="module")
def url(compressor):
    with running(app(Local(lambda: compressor))) as url:
        yield f"{url}/mcp"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_over_http(url, compressor, prose, mode):
    async with Client(url, mode=mode) as client:
        result = await client.call_tool("compress_text", {"text": prose, "query": QUERY, "max_tokens": 40})
        assert result.structured_content["text"] == compressor.compress(prose, QUERY, max_tokens=40).text
        bad = await client.call_tool("compress_text", {"text": "a", "query": ""})
        assert bad.is_error and "the query is empty" in bad.content[0].text


async def test_several_clients_at_once(url, compressor, prose):
    expected = compressor.compress(prose, QUERY).text

    async def use():
        async with Client(url) as client:
            result = await client.call_tool("compress_text", {"text": prose, "query": QUERY})
            assert result.structured_content["text"] == expected

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(use)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_cancelling_over_http_frees_the_model(compressor, prose, mode):
    slow, brake = slowed(compressor, 0.05)
    with running(app(Local(lambda: slow))) as url:
        async with Client(f"{url}/mcp", mode=mode) as client:
            with anyio.move_on_after(0.7) as scope:
                await client.call_tool("compress_text", {"text": prose * 60, "query": QUERY})
            assert scope.cancelled_caught
            await anyio.sleep(0.5)
            done = brake.batches
            await anyio.sleep(0.3)
            assert 0 < done == brake.batches


async def test_only_those_with_a_key_get_in(compressor):
    with running(app(Local(lambda: compressor), keys=[KEY])) as url:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}):
            reply = httpx.post(f"{url}/mcp", json=LIST, headers={**HEADERS, **headers})
            assert reply.status_code == 401 and reply.headers["www-authenticate"] == "Bearer"
            assert "send one in the header" in reply.json()["error"]
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
        ):
            assert len((await client.list_tools()).tools) == 2


def test_other_hosts_and_web_pages_from_elsewhere_are_refused(url):
    def status(**headers):
        return httpx.post(url, json=LIST, headers={**HEADERS, **headers}).status_code

    port = url.rsplit(":", 1)[1].split("/")[0]
    assert status(Host="evil.example") == status(Host=f"evil.example:{port}") == status(Host="127.0.0.1.evil.example") == 421
    assert status(Origin="https://evil.example") == status(Origin="null") == 403
    assert status(Origin="http://127.0.0.1:3000") not in (403, 421)


def test_names_that_it_is_known_by(compressor):
    with running(app(Local(lambda: compressor), names=["127.0.0.1", "::1", "box.local"])) as url:
        for host in ("box.local", "box.local:8000", "[::1]:8000", "[::1]"):
            assert httpx.post(f"{url}/mcp", json=LIST, headers={**HEADERS, "Host": host}).status_code not in (403, 421)


async def test_a_text_up_to_the_limit_gets_through_however_it_is_escaped(compressor):
    with running(app(Local(lambda: compressor), max_bytes=2_000)) as url:
        async with Client(f"{url}/mcp") as client:
            for text in ("\x01" * 2_000, "é" * 1_000, '"' * 2_000):
                result = await client.call_tool("compress_text", {"text": text, "query": QUERY, "max_tokens": 5})
                assert not result.is_error, result.content
            result = await client.call_tool("compress_text", {"text": "a" * 2_001, "query": QUERY})
            assert result.is_error and "has 2,001 bytes, more than the 2,000" in result.content[0].text
        body = json.dumps({**LIST, "params": {"padding": "a" * 100_000}})
        assert httpx.post(f"{url}/mcp", content=body, headers=HEADERS).status_code == 413


async def test_a_service_can_do_the_work(compressor, prose, monkeypatch):
    monkeypatch.delenv("CPRS_API_KEY", raising=False)
    monkeypatch.setattr("cprs_core.mcp.worker._BEAT", 0.1)
    slow, brake = slowed(compressor, 0.01)
    told = []

    async def note(done, total, message):
        told.append((done, total, message))

    with running(create_service(slow)) as service:
        async with Client(create_server(Remote(service))) as client:
            arguments = {"text": prose, "query": QUERY, "max_tokens": 200}
            result = await client.call_tool("compress_text", arguments)
            assert result.structured_content["text"] == compressor.compress(prose, QUERY, max_tokens=200).text
            bad = await client.call_tool("compress_text", {**arguments, "ratio": 0.5})
            assert bad.is_error and "two budgets" in bad.content[0].text
            brake.seconds = 0.05
            with anyio.move_on_after(2) as scope:
                await client.call_tool("compress_text", {"text": prose * 60, "query": QUERY}, progress_callback=note)
            assert scope.cancelled_caught and told == [(1, None, "1 s")]
            await anyio.sleep(0.3)
            done = brake.batches
            await anyio.sleep(0.3)
            assert brake.batches == done


async def test_a_service_that_is_not_there_is_a_tool_error(monkeypatch):
    monkeypatch.setattr("cprs_core.client.Client._pause", lambda *_: None)
    async with Client(create_server(Remote("http://127.0.0.1:9"))) as client:
        result = await client.call_tool("compress_text", {"text": "a", "query": QUERY})
        assert result.is_error and "cprs serve" in result.content[0].text
