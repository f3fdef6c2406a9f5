"""Requests to a service, drawn at random, and what must hold for each of them. For ``fuzz.py`` and for the tests.

Whatever bytes are sent, the answer is right, or a problem with a status of 4xx that says why not.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import httpx
from fuzz_texts import TextCase, compressor, odd_number, text_case, verbatim
from odd import odd_text

from cprs_core import Instruction, Span
from cprs_core.server.app import create_app

_FIELDS = ("text", "documents", "pairs", "query", "instruction", "preset", "max_tokens", "ratio", "threshold", "stream",
           "top_n", "return_documents", "prompt", "tags", "unit", "payload", "messages", "role", "content")  # fmt: skip


@dataclass(frozen=True)
class RequestCase:
    path: str
    content: bytes


def _json(rng: Random, depth: int = 0) -> Any:
    """Any JSON, with the names of fields in it."""
    kind = rng.randrange(8 if depth < 4 else 6)
    if kind < 2:
        return odd_number(rng)
    if kind < 5:
        return odd_text(rng)[:80]
    if kind == 5:
        return rng.choice(_FIELDS)
    inner = [_json(rng, depth + 1) for _ in range(rng.randrange(5))]
    return inner if kind == 6 else {rng.choice((*_FIELDS, str(value)[:9])): value for value in inner}


def _sound(case: TextCase, path: str, flag: bool) -> Any:
    """A body that a route takes, if the values in it are sound."""
    what = case.instruction
    if isinstance(what, Instruction):
        what = {"prompt": what.prompt, "tags": list(what.tags), "unit": what.unit}
    if path == "/v1/tokens":
        return {"text": case.texts[0]}
    if path == "/v1/rerank":
        return {
            "query": case.query,
            "documents": case.texts,
            "top_n": case.limits.get("max_tokens"),
            "return_documents": flag,
        }
    if path == "/qwen_long_compress_server":
        system = what["prompt"] if isinstance(what, dict) else what or "Keep what answers the question."
        messages = zip(("system", "user", "context"), (system, case.query, case.texts[0]), strict=True)
        options = {"return_offset": flag, "complete_sentence": case.form == "batch", "min_keyword_len": len(case.texts) - 1}
        return {"payload": {"input": {"messages": [{"role": r, "content": c} for r, c in messages]}, "parameters": options}}
    asked = {"instruction": what, **case.limits}
    if path == "/v1/scores":
        asked.pop("ratio", None)
        return {"text": case.texts[0], "query": case.query, "cuts": flag, "stream": case.form == "stream", **asked}
    if case.form == "batch":
        return {"pairs": [{"text": text, "query": case.query} for text in case.texts], **asked}
    if case.form == "documents":
        return {"documents": case.texts, "query": case.query, **asked}
    return {"text": case.texts[0], "query": case.query, "stream": case.form == "stream", **asked}


def _mutated(body: Any, rng: Random) -> Any:
    """The body with a value somewhere in it left out, put in or replaced."""
    if not isinstance(body, (dict, list)) or not body or rng.random() < 0.2:
        return _json(rng)
    key = rng.choice(list(body) if isinstance(body, dict) else range(len(body)))
    kind = rng.randrange(5)
    if kind == 0:
        del body[key]
    elif kind == 1 and isinstance(body, dict):
        body[rng.choice(_FIELDS)] = _json(rng)
    else:
        body[key] = _mutated(body[key], rng)
    return body


def _torn(content: bytes, rng: Random) -> bytes:
    """The body with bytes changed, left out or put in."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        data[place : place + rng.randint(0, 3)] = rng.choice(
            (b"", b"[", b"{", b'"', b"\\", b",", b"\xff", b"NaN", b"1e999", b"\0")
        )
    return bytes(data)


def request_case(rng: Random) -> RequestCase:
    """A request: sound in half of all cases, else mutated, torn, or any JSON."""
    path, how = rng.choice(list(HOLDS)), rng.random()
    if how < 0.1:
        return RequestCase(path, json.dumps(_json(rng)).encode())
    body = json.loads(json.dumps(_sound(text_case(rng), path, rng.random() < 0.5)))
    content = json.dumps(_mutated(body, rng) if how < 0.35 else body).encode()
    return RequestCase(path, _torn(content, rng) if how > 0.85 else content)


class Caller:
    """A service in this process, asked without a network."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        transport = httpx.ASGITransport(create_app(compressor()), raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://service")

    def post(self, path: str, content: bytes) -> httpx.Response:
        headers = {"Content-Type": "application/json"}
        return self._loop.run_until_complete(self._client.post(path, content=content, headers=headers))


caller = cache(Caller)


def request_holds(case: RequestCase) -> None:
    """Sends the request, and fails unless the answer is right or a problem of the sender's."""
    reply = caller().post(case.path, case.content)
    if reply.status_code != 200:
        _is_problem(reply.json(), reply.status_code)
        assert reply.headers["content-type"] == "application/problem+json"
        return
    events = None
    if reply.headers["content-type"].startswith("text/event-stream"):
        events = [_event(lines) for lines in reply.text.strip().split("\n\n")]
        name, answer = events.pop()
        if name == "error":
            _is_problem(answer, answer["status"])
            return
        assert name == "done"
    else:
        answer = reply.json()
    HOLDS[case.path](json.loads(case.content), answer, events)


def _event(lines: str) -> tuple[str, Any]:
    name, data = lines.split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def _is_problem(body: Any, status: int) -> None:
    assert 400 <= status < 500, body
    assert set(body) == {"type", "title", "status", "detail", "request_id"} and body["status"] == status and body["detail"]


def _compressed(body: Any, answer: Any, events: list[tuple[str, Any]] | None) -> None:
    if events is not None:
        assert answer["spans"] == len(events)
        verbatim(body["text"], [Span(**data) for _, data in events])
        return
    pairs, documents = body.get("pairs"), body.get("documents")
    texts = [pair["text"] for pair in pairs] if pairs is not None else documents
    found = answer["results"]
    for text, row in zip([body["text"]] if texts is None else texts, found, strict=True):
        verbatim(text, [Span(**span) for span in row["spans"]])
        assert len(row["text"]) <= len(text)
    for group in [[row] for row in found] if pairs is not None else [found]:
        kept, read = (sum(row[name] for row in group) for name in ("kept_tokens", "input_tokens"))
        assert body.get("max_tokens") is None or kept <= body["max_tokens"]
        assert body.get("ratio") is None or kept <= body["ratio"] * read


def _scored(body: Any, answer: Any, events: list[tuple[str, Any]] | None) -> None:
    assert all(name == "progress" and 0 < data["done"] <= data["windows"] for name, data in events or [])
    for pieces in filter(None, (answer["candidates"], answer.get("clauses"), answer.get("words"))):
        assert len({len(column) for column in pieces.values()}) == 1
        last = 0
        for start, end, score in zip(pieces["starts"], pieces["ends"], pieces["scores"], strict=True):
            assert last <= start < end <= len(body["text"]) and 0 <= score <= 1
            last = end


def _ranked(body: Any, answer: Any, _: Any) -> None:
    scores = [row["relevance_score"] for row in answer["results"]]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    assert len({row["index"] for row in answer["results"]}) == len(scores) <= len(body["documents"])


def _counted(body: Any, answer: Any, _: Any) -> None:
    assert answer["tokens"] == compressor().count_tokens(body["text"])


def _as_released(body: Any, answer: Any, _: Any) -> None:
    text = body["payload"]["input"]["messages"][2]["content"]
    for entry in answer["payload"]["output"]["text"]:
        piece, start, end = entry if isinstance(entry, list) else (entry, (at := text.find(entry)), at + len(entry))
        assert piece and text[start:end] == piece


HOLDS: dict[str, Callable[[Any, Any, list[tuple[str, Any]] | None], None]] = {
    "/v1/compress": _compressed,
    "/v1/scores": _scored,
    "/v1/rerank": _ranked,
    "/v1/tokens": _counted,
    "/qwen_long_compress_server": _as_released,
}
"""What must hold for a request and its answer, or its last event and those before."""
