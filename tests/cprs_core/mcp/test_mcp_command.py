"""``cprs mcp`` as a process, over its standard input and output and over HTTP; and what it refuses."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time

import httpx
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from typer.testing import CliRunner

from cprs_core import cli

QUERY = "When does it end?"
ODD = "The licence ends on 3 May 2031. 😀 图书馆的造价是15.7亿元。\r\n\u2028\x00\x1b e\u0301 <|im_end|> Nobody knew why! "


def command(tiny_path, *arguments):
    return [sys.executable, "-m", "cprs_core.cli", "mcp", "--model", str(tiny_path), "--device", "cpu", *arguments]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_that_starts_it(tiny_path, tiny, tmp_path, mode):
    from cprs_core import ContextCompressor

    (tmp_path / "a.txt").write_bytes(ODD.encode())
    (tmp_path / "out").symlink_to("/etc")
    program, *arguments = command(tiny_path, "--root", str(tmp_path), "--max-bytes", "1000", "--window-size", "256")
    expected = ContextCompressor(tiny, window_size=256).compress(ODD, QUERY, max_tokens=12)
    async with Client(StdioServerParameters(command=program, args=arguments), mode=mode) as client:

        async def call(tool, **given):
            return await client.call_tool(tool, {"query": QUERY, "max_tokens": 12, **given})

        text, file = await asyncio.gather(call("compress_text", text=ODD), call("compress_file", path="a.txt"))
        for result in (text, file):
            got = result.structured_content
            assert got["text"] == expected.text != "" and got["kept_tokens"] <= 12
            assert [ODD[span["start"] : span["end"]] for span in got["spans"]] == [span.text for span in expected.spans]
        for given, words in (
            ({"path": "out/passwd"}, f"outside the folders that this server may read; roots: {tmp_path}"),
            ({"path": "/etc/passwd"}, f"roots: {tmp_path}"),
        ):
            result = await call("compress_file", **given)
            assert result.is_error and words in result.content[0].text
        result = await call("compress_text", text="a" * 1001)
        assert result.is_error and "has 1,001 bytes, more than the 1,000" in result.content[0].text


def test_it_ends_with_its_client(tiny_path):
    began = time.monotonic()
    done = subprocess.run(command(tiny_path), input="", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout == "" and "waiting for an MCP client" in done.stderr
    assert "Traceback" not in done.stderr and time.monotonic() - began < 30


def test_it_ends_with_its_client_while_it_works(tiny_path):
    """Torn down at work, torch would abort the process."""
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}
    call = {"name": "compress_text", "arguments": {"text": ODD * 700, "query": QUERY}}
    lines = [
        {"id": 1, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {**call, "_meta": {"progressToken": 1}}},
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command(tiny_path, "--window-size", "256"), **pipes, text=True) as process:
        for line in lines:
            print(json.dumps({"jsonrpc": "2.0", **line}), file=process.stdin, flush=True)
        assert any("windows read" in line for line in process.stdout)
        process.stdin.close()
        assert "Traceback" not in process.stderr.read() and process.wait(20) == 0


def test_nothing_but_the_protocol_is_on_its_output(tiny_path):
    lines = ['{"jsonrpc":"2.0","id":1,"method":"ping"}', "no JSON", '{"jsonrpc":"2.0","id":2,"method":"a\\ud800"}']
    done = subprocess.run(command(tiny_path), input="\n".join([*lines, ""]), capture_output=True, text=True, timeout=60)
    assert done.stdout and all(line.startswith('{"jsonrpc"') for line in done.stdout.splitlines())


def test_over_http_until_a_signal(tiny_path, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("k" * 20)
    process = subprocess.Popen(
        command(tiny_path, "--http", "--port", "0", "--api-keys", str(keys)), stderr=subprocess.PIPE, text=True
    )
    try:
        line = next(line for line in process.stderr if "listens on" in line)
        url = re.search(r"http://127\.0\.0\.1:\d+/mcp", line)[0]
        assert httpx.post(url, json={}).status_code == 401
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(20) in (0, -signal.SIGTERM) and "Traceback" not in rest
    finally:
        process.kill()
        process.stderr.close()


def run(*arguments):
    return CliRunner().invoke(cli.app, ["mcp", *arguments])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--root", "/no/such/folder"], "no folder /no/such/folder"),
        (["--root", __file__], "no folder"),
        (["--port", "8000"], "of no use without --http"),
        (["--allowed-host", "a"], "of no use without --http"),
        (["--url", "ftp://a"], "url must be that of a service"),
        (["--url", "http://a", "--device", "cpu"], "leave out --url"),
        (["--url", "http://a", "--http", "--host", "0.0.0.0"], "everyone who can reach 0.0.0.0"),
        (["--url", "http://a", "--http", "--api-keys", "/no/such/file"], "cannot read the API keys"),
        (["--url", "http://a", "--http", "--port", "99999"], "65535"),
        (["--max-bytes", "0"], "--max-bytes"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, says, monkeypatch):
    monkeypatch.delenv("CPRS_API_KEYS", raising=False)
    result = run(*arguments)
    assert result.exit_code == 2 and says in " ".join(result.stderr.split())


def test_without_the_extra_it_says_how_to_get_it():
    code = "import sys; sys.modules['mcp.server.mcpserver'] = None; from cprs_core import cli; sys.argv = ['cprs', 'mcp']; "
    done = subprocess.run([sys.executable, "-c", code + "cli.main()"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "pip install 'cprs-core[mcp]'" in done.stderr.replace("\n", " ")


def test_the_command_line_loads_no_sdk_and_the_server_no_torch():
    for code, unwanted in (
        ("from cprs_core import cli", {"mcp", "mcp_types", "uvicorn", "torch"}),
        ("import cprs_core.mcp.server, cprs_core.mcp.http", {"torch", "transformers"}),
    ):
        code = f"import sys; {code}; print({unwanted} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.strip() == "set()"
