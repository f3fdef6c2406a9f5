"""The tools, through the SDK's own client in this process: both the protocol with a handshake and the one without."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest
from fakes import slowed
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import Client
from mcp_types import ListRootsResult

from cprs_core import ModelLoadError
from cprs_core.mcp.roots import Roots
from cprs_core.mcp.server import NOTHING, create_server
from cprs_core.mcp.worker import Local

QUERY = "When does it end?"


@pytest.fixture(params=["auto", "legacy"])
def connect(request, compressor):
    """Connects a client to a new server; the arguments are those of the server, and ``client`` for the client."""

    @asynccontextmanager
    async def make(made=compressor, roots=None, client=None, **options):
        server = create_server(Local(lambda: made), roots, **options)
        async with Client(server, mode=request.param, **(client or {})) as connected:
            yield connected

    return make


async def kept(client, tool="compress_text", **arguments):
    result = await client.call_tool(tool, {"query": QUERY, **arguments})
    assert not result.is_error, result.content
    assert result.content[0].text == (result.structured_content["text"] or NOTHING)
    return result.structured_content


async def refused(client, tool="compress_text", **arguments):
    result = await client.call_tool(tool, {"query": QUERY, **arguments})
    assert result.is_error and result.structured_content is None
    return result.content[0].text


async def test_what_a_client_sees(connect, tmp_path):
    async with connect() as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == ["compress_text", "compress_url_content"]
        for tool in tools:
            hints = tool.annotations
            assert (
                hints.read_only_hint and hints.idempotent_hint and not hints.destructive_hint and not hints.open_world_hint
            )
            assert tool.description and "\n" not in tool.description
            for name, schema in tool.input_schema["properties"].items():
                assert schema["description"], name
            assert set(tool.output_schema["required"]) == {"text", "spans", "input_tokens", "kept_tokens", "model"}
            assert not {"ctx", "theirs"} & set(tool.input_schema["properties"])
    async with connect(roots=Roots.of([tmp_path])) as client:
        tool = (await client.list_tools()).tools[2]
        assert tool.name == "compress_file" and str(tmp_path) in tool.description
        assert "theirs" not in tool.input_schema["properties"]


@pytest.mark.parametrize("limits", [{}, {"max_tokens": 40}, {"ratio": 0.2}, {"threshold": 0.4}, {"instruction": "answer"}])
async def test_it_gives_what_the_compressor_gives(connect, compressor, prose, limits):
    from cprs_core.adapters import parse_instruction

    expected = compressor.compress(prose, QUERY, parse_instruction(limits.get("instruction")),
                                   **{name: value for name, value in limits.items() if name != "instruction"})  # fmt: skip
    async with connect() as client:
        got = await kept(client, text=prose, **limits)
    assert got["text"] == expected.text and got["model"] == compressor.model_name and got["source"] is None
    assert (got["input_tokens"], got["kept_tokens"]) == (expected.input_tokens, expected.kept_tokens)
    assert [(span["start"], span["end"], span["tag"]) for span in got["spans"]] == [
        (span.start, span.end, span.tag) for span in expected.spans
    ]


async def test_a_file_and_a_page(connect, prose, tmp_path):
    (tmp_path / "a.txt").write_bytes(prose.encode())
    async with connect(roots=Roots.of([tmp_path])) as client:
        text = await kept(client, text=prose, max_tokens=40)
        file = await kept(client, "compress_file", path="a.txt", max_tokens=40)
        page = await kept(client, "compress_url_content", url="https://a.org/b", content=prose, max_tokens=40)
    assert text["spans"] == file["spans"] == page["spans"] and text["text"] == file["text"] == page["text"]
    assert (file["source"], page["source"]) == ("a.txt", "https://a.org/b")


async def test_nothing_to_keep_is_said(connect):
    async with connect() as client:
        assert (await kept(client, text=""))["spans"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"text": "a", "query": "  "}, "the query is empty"),
        ({"text": "a", "max_tokens": 0}, "whole number from 1 on"),
        ({"text": "a", "ratio": 2}, "over 0 and up to 1"),
        ({"text": "a", "ratio": 0.5, "max_tokens": 3}, "two budgets"),
        ({"text": "a", "instruction": "sentense"}, "unknown preset 'sentense'"),
        ({"text": "é" * 26}, "has 52 bytes, more than the 50 that this server takes"),
        ({"text": "a", "max_tokens": "many"}, "max_tokens"),
        ({}, "text"),
        ({"tool": "compress_url_content", "url": "file:///etc/passwd", "content": "a"}, "must begin with http"),
        ({"tool": "compress_url_content", "url": "a.org", "content": "a"}, "must begin with http"),
        ({"tool": "compress_file", "path": "../a.txt"}, "outside the folders that this server may read; roots: /"),
        ({"tool": "compress_file", "path": "big.txt"}, "has 51 bytes, more than the 50"),
        ({"tool": "compress_file", "path": "a.txt", "query": ""}, "the query is empty"),
        ({"tool": "compress_all"}, "Unknown tool"),
    ],
)
async def test_bad_input_is_a_tool_error_that_says_why(connect, tmp_path, arguments, words):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "big.txt").write_text("a" * 51)
    async with connect(roots=Roots.of([tmp_path]), max_bytes=50) as client:
        assert words in await refused(client, **arguments)
        await kept(client, text="a" * 50)


async def test_a_model_that_cannot_be_loaded_is_a_tool_error_until_it_can(compressor):
    errors = [ModelLoadError("there is no model a/b")]

    def load():
        if errors:
            raise errors.pop()
        return compressor

    async with Client(create_server(Local(load))) as client:
        assert "there is no model a/b" in await refused(client, text="a")
        await kept(client, text="a")


async def test_what_is_no_error_on_purpose_stays_in_the_log(caplog):
    def load():
        raise ZeroDivisionError("the secret")

    async with Client(create_server(Local(load))) as client:
        assert await refused(client, text="a") == "Error executing tool compress_text"
    assert "unexpected exception" in caplog.text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_any_text_keeps_its_offsets(compressor, odd_text, mode):
    server = create_server(Local(lambda: compressor))

    @settings(max_examples=15)
    @given(odd_text, st.sampled_from([1, 8, 60]))
    def check(text, budget):
        async def run():
            async with Client(server, mode=mode) as client:
                return await kept(client, text=text, max_tokens=budget)

        got = anyio.run(run)
        assert [text[span["start"] : span["end"]] for span in got["spans"]] == [
            span.text for span in compressor.compress(text, QUERY, max_tokens=budget).spans
        ]
        assert got["kept_tokens"] <= budget

    check()


async def test_roots_of_the_client_narrow(connect, tmp_path):
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("Ann owns it.")
    roots = Roots.of([tmp_path])
    shown = [f"file://{tmp_path}/theirs"]

    async def list_roots(_):
        return ListRootsResult.model_validate({"roots": [{"uri": uri} for uri in shown]})

    async with connect(roots=roots, client={"list_roots_callback": list_roots}) as client:
        await kept(client, "compress_file", path="a.txt")
        await kept(client, "compress_file", path=str(tmp_path / "theirs/a.txt"))
        message = await refused(client, "compress_file", path=str(tmp_path / "mine/a.txt"))
        assert message.endswith(f"roots: {tmp_path}/theirs")
        shown[:] = ["file:///"]
        await kept(client, "compress_file", path=str(tmp_path / "mine/a.txt"))
        assert "outside" in await refused(client, "compress_file", path="/etc/passwd")
        shown.clear()
        assert "none that both" in await refused(client, "compress_file", path="mine/a.txt")


async def test_progress_is_told_and_grows(connect, compressor, prose, monkeypatch):
    monkeypatch.setattr("cprs_core.mcp.server._EVERY", 0.05)
    slow, _ = slowed(compressor, 0.05)
    told = []

    async def note(done, total, message):
        told.append((done, total, message))

    async with connect(slow) as client:
        arguments = {"text": prose * 4, "query": QUERY}
        await client.call_tool("compress_text", arguments, progress_callback=note)
    assert len(told) >= 2
    assert [done for done, *_ in told] == sorted({done for done, *_ in told})
    assert all(done <= total and f"of {int(total)} windows" in message for done, total, message in told)
    assert len({total for _, total, _ in told}) == 1


async def test_cancelling_frees_the_model(connect, compressor, prose):
    slow, brake = slowed(compressor, 0.05)
    async with connect(slow) as client:
        with anyio.move_on_after(0.5) as scope:
            await client.call_tool("compress_text", {"text": prose * 60, "query": QUERY})
        assert scope.cancelled_caught
        await anyio.sleep(0.3)
        done = brake.batches
        assert done > 0
        await anyio.sleep(0.3)
        assert brake.batches == done
        await kept(client, text=prose[:100])


async def test_calls_run_together_and_others_are_answered_meanwhile(connect, compressor, prose):
    texts = [prose[: 100 * size] for size in range(1, 7)]
    expected = [compressor.compress(text, QUERY).text for text in texts]
    slow, brake = slowed(compressor, 0.01)
    brake.free.clear()
    found = {}

    async with connect(slow) as client, anyio.create_task_group() as group:

        async def call(number):
            found[number] = (await kept(client, text=texts[number]))["text"]

        for number in range(len(texts)):
            group.start_soon(call, number)
        await anyio.sleep(0.3)
        with anyio.fail_after(5):
            assert len((await client.list_tools()).tools) == 2
            assert "query is empty" in await refused(client, text="a", query="")
        assert not found
        brake.free.set()
    assert [found[number] for number in range(len(texts))] == expected
