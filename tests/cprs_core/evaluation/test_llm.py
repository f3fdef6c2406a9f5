"""Readers: a service on this machine that answers, refuses or is not there, and a local model of random weights."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cprs_core.errors import CprsError, InputError, MissingExtraError
from cprs_core.evaluation.llm import LocalReader, ServiceReader, open_reader, prompt

from .models import save_causal


class Service(HTTPServer):
    """Notes the requests, and answers with what it was told, the last one over and over."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.replies: list[tuple[int, Any]] = [(200, chat(" 4711\n"))]
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append({"path": self.path, "key": self.headers["Authorization"], **body})
        status, reply = self.server.replies.pop(0) if len(self.server.replies) > 1 else self.server.replies[0]
        content = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None: ...


def chat(content: str | None) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}  # fmt: skip


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server = Service()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_service_is_asked_and_answers(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    reader = open_reader(service.url, "small", None)
    assert reader.name == "small" and reader.answer("What is the key?", "The key is 4711. 😀") == "4711"
    (request,) = service.requests
    assert request["path"] == "/v1/chat/completions" and request["key"] == "Bearer secret"
    assert request["model"] == "small" and request["temperature"] == 0 and request["max_tokens"] > 0
    assert [message["content"] for message in request["messages"]] == [prompt("What is the key?", "The key is 4711. 😀")]


def test_what_fails_for_the_moment_is_tried_again(service: Service) -> None:
    service.replies = [(500, {}), (200, chat("yes"))]
    assert ServiceReader(service.url, "m", retries=1).answer("q", "c") == "yes"
    assert len(service.requests) == 2


@pytest.mark.parametrize(
    ("status", "reply", "reason"),
    [
        (401, {"error": {"message": "wrong key"}}, "status 401.*OPENAI_API_KEY"),
        (400, {"error": {"message": "context too long"}}, "context too long.*--lengths"),
        (200, {"detail": "not a chat"}, "OpenAI-compatible"),
        (200, {**chat("x"), "choices": []}, "no choices"),
    ],
)
def test_a_service_that_refuses(service: Service, status: int, reply: Any, reason: str) -> None:
    service.replies = [(status, reply)]
    with pytest.raises(CprsError, match=reason):
        ServiceReader(service.url, "m", retries=0).answer("q", "c")


def test_an_answer_without_words_is_empty(service: Service) -> None:
    service.replies = [(200, chat(None))]
    assert ServiceReader(service.url, "m", retries=0).answer("q", "c") == ""


def test_a_service_that_is_not_there(service: Service) -> None:
    service.shutdown()
    service.server_close()
    with pytest.raises(CprsError, match=f"no answer from {service.url} after several tries.*URL.*firewalls"):
        ServiceReader(service.url, "m", retries=1).answer("q", "c")


def test_a_local_model_reads(tiny_path: Path, tmp_path: Path) -> None:
    reader = open_reader(f"hf:{save_causal(tmp_path, tiny_path)}", None, "cpu")
    assert isinstance(reader, LocalReader)
    first = reader.answer("What is the key?", "The key is 4711.")
    assert first == first.strip() and first == reader.answer("What is the key?", "The key is 4711.")
    reader._tokenizer.chat_template = "{% for m in messages %}<{{ m['content'] }}>{% endfor %}"
    inputs = reader._encode("hello")
    assert reader._tokenizer.decode(inputs["input_ids"][0]) == "<hello>"
    reader._model.config.max_position_embeddings = 200
    with pytest.raises(InputError, match=r"200 of .*--lengths"):
        reader.answer("What?", "word " * 100)


def test_what_is_no_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"hf:FOLDER"):
        open_reader("localhost:8000", "m", None)
    with pytest.raises(InputError, match="--llm-model"):
        open_reader("http://localhost:8000/v1", None, None)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"openai.*cprs-core\[eval\]"):
        open_reader("http://localhost:8000/v1", "m", None)
