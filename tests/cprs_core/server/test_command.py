"""``cprs serve`` as a process: it listens, answers, and stops on a signal; and what it refuses."""

import re
import signal
import socket
import subprocess
import sys

import httpx
from typer.testing import CliRunner

from cprs_core import CprsClient, cli
from cprs_core.server.sockets import listen


def test_it_serves_until_a_signal(tiny_path):
    command = [sys.executable, "-m", "cprs_core.cli", "serve", "--model", str(tiny_path), "--device", "cpu", "--port", "0"]
    process = subprocess.Popen([*command, "--max-documents", "2"], stderr=subprocess.PIPE, text=True)
    try:
        line = next(line for line in process.stderr if "listens on" in line)
        url = re.search(r"http://[\d.:]+", line)[0]
        with CprsClient(url) as remote:
            assert remote.compress("Ann owns it. Nobody knows why.", "Who owns it?", max_tokens=5).kept_tokens <= 5
            assert remote.model_name == str(tiny_path)
        assert httpx.post(f"{url}/v1/compress", json={"documents": ["a"] * 3, "query": "b"}).status_code == 413
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(15) in (0, -signal.SIGTERM)
        assert "Traceback" not in rest and "Ann" not in rest
        assert re.search(r"\w+ POST /v1/compress 200 \d", rest)
    finally:
        process.kill()
        process.stderr.close()


def run(*arguments):
    return CliRunner().invoke(cli.app, ["serve", *arguments])


def test_unusable_options(tmp_path):
    assert run("--api-keys", str(tmp_path / "none")).exit_code == 2
    assert run("--port", "99999").exit_code == 2
    assert run("--host", "not.an.address.invalid").exit_code == 2
    for option in ("--deadline", "--headers-timeout", "--body-timeout", "--max-connections", "--max-bodies-mb"):
        assert run(option, "0").exit_code == 2
    assert run("--log-level", "loud").exit_code == 2


def test_a_port_that_is_taken(live):
    assert run("--port", live.url.rsplit(":", 1)[1]).exit_code == 2


def test_without_the_extra_it_says_how_to_get_it():
    code = "import sys; sys.modules['prometheus_client'] = None; from cprs_core import cli; sys.argv = ['cprs', 'serve']; "
    done = subprocess.run([sys.executable, "-c", code + "cli.main()"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "pip install 'cprs-core[server]'" in done.stderr.replace("\n", " ")


def test_importing_the_command_line_needs_no_server():
    code = "import sys; from cprs_core import cli; print({'fastapi', 'uvicorn', 'httpx', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


def test_small_answers_leave_at_once() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
