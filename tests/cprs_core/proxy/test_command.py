"""The command: its options, and what it serves."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cprs_core.cli import app
from cprs_core.errors import InputError
from cprs_core.proxy.settings import Settings


def run(*arguments):
    return CliRunner().invoke(app, ["proxy", *arguments])


def test_it_serves_what_was_asked_for(monkeypatch, tiny_path: Path):
    served = []
    monkeypatch.setattr("uvicorn.run", lambda app, **options: served.append((app, options)))
    result = run(
        "--upstream", "http://a.test", "--port", "9", "--model", str(tiny_path), "--device", "cpu", "--ratio", "0.2"
    )
    assert result.exit_code == 0, result.output
    assert "http://127.0.0.1:9 -> http://a.test" in result.stderr
    ((_, options),) = served
    assert (options["port"], options["access_log"], options["server_header"]) == (9, False, False)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--upstream", "api.openai.com"], "URL of a provider"),
        (["--upstream", "https://api.openai.com/v1/"], "leave it out"),
        (["--upstream", "http://a", "--min-tokens", "0"], "min_tokens must be 1 or more"),
        (["--upstream", "http://a", "--timeout", "0"], "timeout must be"),
        (["--upstream", "http://a", "--ratio", "2"], "ratio must be"),
        (["--upstream", "http://a", "--ratio", "0.5", "--max-tokens", "3"], "two budgets"),
        ([], "--upstream"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, says):
    result = run(*arguments)
    assert result.exit_code == 2 and says in " ".join(result.stderr.split())


def test_without_the_extra_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = run("--upstream", "http://a")
    assert result.exit_code == 1 and "pip install 'cprs-core[server]'" in result.stderr


def test_a_port_in_use_is_a_failure(tiny_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = run("--upstream", "http://a.test", "--port", port, "--model", str(tiny_path), "--device", "cpu")
    assert result.exit_code == 1 and "choose another --port" in result.stderr


def test_settings_are_checked():
    with pytest.raises(InputError, match="on_error must be 'pass' or 'fail'"):
        Settings("http://a", on_error="maybe")  # type: ignore[arg-type]
