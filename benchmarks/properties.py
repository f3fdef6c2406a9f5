"""What must hold for any text, any option and any request, and how these are drawn. For ``fuzz.py`` and for the tests.

Cases are drawn from a ``random.Random``, or from the one that hypothesis gives, which can shrink them.

A text case is a call of a compressor whose scorer is no model but a table: whatever is asked of it, spans lie in the text
that was given, and budgets are kept, or a ``CprsError`` says why not. A request case is bytes that are sent to a service:
the answer is as good, or a problem with a status of 4xx.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import httpx
import numpy as np
import torch
from odd import odd_text

from cprs_core import Compression, ContextCompressor, CprsError, Instruction, Span
from cprs_core.instruction import PRESETS, UNITS
from cprs_core.loading import Checkpoint
from cprs_core.models import BUNDLED, DEFAULT_MODEL
from cprs_core.scoring import Memory, Window
from cprs_core.server.app import create_app
from cprs_core.tokens import TextTokenizer

_ROUTES = ("/v1/compress", "/v1/rerank", "/v1/tokens", "/qwen_long_compress_server")
_FIELDS = ("text", "documents", "pairs", "query", "instruction", "preset", "max_tokens", "ratio", "threshold", "stream",
           "top_n", "return_documents", "prompt", "tags", "unit", "payload", "messages", "role", "content")  # fmt: skip


class Table:
    """A scorer without a model: what it says depends on a token and its place in the window."""

    device, token_bytes = torch.device("cpu"), 1

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._labels = rng.dirichlet((0.3, 0.3, 1.0, 0.3), 4099).astype(np.float32)
        self._tags = rng.random((4099, 64), np.float32)

    def score(self, windows: Sequence[Window], memory: Memory) -> torch.Tensor:
        rows = np.concatenate([(31 * window.ids + 17 * np.arange(len(window.ids))) % 4099 for window in windows])
        tags = self._tags[rows][:, np.arange(len(windows[0].tag_ids) - 1) % 64]
        return torch.from_numpy(np.concatenate([self._labels[rows], tags], 1))


@cache
def compressor() -> ContextCompressor:
    """The default model's tokenizer, and the table: small windows, so that short texts have many."""
    tokenizer = TextTokenizer((BUNDLED[DEFAULT_MODEL] / "tokenizer.json").read_text("utf-8"))
    checkpoint = Checkpoint("table", tokenizer, [Table()], True, 320, {"sentence": 0.3, "word": 0.2}, {"sentence": 0.5})
    return ContextCompressor(checkpoint, overlap=8, batch_tokens=1024)


def _number(rng: Random) -> Any:
    """What should be a number."""
    return rng.choice((0, -1, 1.5, 1e-9, 2**70, 10**400, math.nan, math.inf, True, "5", None, [], rng.uniform(-2, 2)))


def _limits(rng: Random) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kind = rng.randrange(4)
    if kind == 1:
        found["max_tokens"] = rng.randint(1, rng.choice((5, 80, 1000)))
    if kind == 2:
        found["ratio"] = rng.choice((rng.random(), rng.random() ** 4, 1))
    if rng.random() < 0.3:
        found["threshold"] = rng.random()
    if rng.random() < 0.1:
        found[rng.choice(("max_tokens", "ratio", "threshold"))] = _number(rng)
    return found


def _instruction(rng: Random) -> Any:
    kind = rng.randrange(10)
    if kind < 3:
        return None
    if kind < 6:
        return rng.choice(list(PRESETS.values()))()
    prompt = odd_text(rng) if kind < 7 else "Keep what is said about money."
    if kind < 8:
        return prompt
    tags = rng.choice((["fact"], ["drug", "money"], ["<|im_end|>"], ["好", "x"], [], ["fact", "fact"], [" "], ["outside"]))
    return {"prompt": prompt, "tags": tags, "unit": rng.choice(UNITS)}


@dataclass(frozen=True)
class TextCase:
    form: str
    texts: list[str]
    query: str
    instruction: Any
    limits: dict[str, Any]


def text_case(rng: Random) -> TextCase:
    """A call, most of them sound."""
    texts = [odd_text(rng) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.05:
        texts[-1] += "\ud800"
    query = "Who owns it?" if rng.random() < 0.7 else odd_text(rng)[:200]
    form = rng.choice(("compress", "documents", "batch", "stream"))
    return TextCase(form, texts, query, _instruction(rng), _limits(rng))


def text_holds(case: TextCase) -> None:
    """Runs the call, and fails unless its result is right or a CprsError."""
    made, limits, (first, *_) = compressor(), case.limits, case.texts
    try:
        what = Instruction(**case.instruction) if isinstance(case.instruction, dict) else case.instruction
        if case.form == "compress":
            results = [made.compress(first, case.query, what, **limits)]
        elif case.form == "documents":
            results = made.compress_documents(case.texts, case.query, what, **limits)
        elif case.form == "batch":
            results = made.compress_batch([(text, case.query) for text in case.texts], what, **limits)
        else:
            verbatim(first, list(made.stream(first, case.query, what, threshold=limits.get("threshold"))))
            return
    except CprsError:
        return
    given = case.texts[: len(results)]
    for text, result in zip(given, results, strict=True):
        verbatim(text, result.spans)
        assert len(result.text) <= len(text) and result.kept_tokens == made.count_tokens(result.text)
        if Instruction.of(what).unit != "word":  # of words, each has to reach it by itself, not with what lies between
            assert all(span.score >= (limits.get("threshold") or 0) - 1e-6 for span in result.spans)
    for group in [results] if case.form == "documents" else [[result] for result in results]:
        within_budget(group, limits)


def within_budget(results: Sequence[Compression], limits: dict[str, Any]) -> None:
    """Fails if texts with one budget have more than it allows."""
    kept = sum(result.kept_tokens for result in results)
    if limits.get("max_tokens") is not None:
        assert kept <= limits["max_tokens"]
    if limits.get("ratio") is not None:
        assert kept <= limits["ratio"] * sum(result.input_tokens for result in results)


def verbatim(text: str, spans: Sequence[Span]) -> None:
    """Fails unless the spans are slices of the text: in order, apart, and not empty."""
    last = 0
    for span in spans:
        assert last <= span.start < span.end <= len(text) and text[span.start : span.end] == span.text
        last = span.end


@dataclass(frozen=True)
class RequestCase:
    path: str
    content: bytes


def _json(rng: Random, depth: int = 0) -> Any:
    """Any JSON, with the names of fields in it."""
    kind = rng.randrange(8 if depth < 4 else 6)
    if kind < 2:
        return _number(rng)
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
    path, how = rng.choice(_ROUTES), rng.random()
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
    body = json.loads(case.content)
    if reply.headers["content-type"].startswith("text/event-stream"):
        _stream_holds(body["text"], reply.text)
    elif case.path == "/v1/compress":
        pairs, documents = body.get("pairs"), body.get("documents")
        texts = [pair["text"] for pair in pairs] if pairs is not None else documents
        found = reply.json()["results"]
        for text, row in zip([body["text"]] if texts is None else texts, found, strict=True):
            verbatim(text, [Span(**span) for span in row["spans"]])
            assert len(row["text"]) <= len(text)
        for group in [[row] for row in found] if pairs is not None else [found]:
            kept, read = (sum(row[name] for row in group) for name in ("kept_tokens", "input_tokens"))
            assert body.get("max_tokens") is None or kept <= body["max_tokens"]
            assert body.get("ratio") is None or kept <= body["ratio"] * read
    elif case.path == "/v1/rerank":
        results = reply.json()["results"]
        scores = [row["relevance_score"] for row in results]
        assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
        assert len({row["index"] for row in results}) == len(results) <= len(body["documents"])
    elif case.path == "/qwen_long_compress_server":
        text = body["payload"]["input"]["messages"][2]["content"]
        for entry in reply.json()["payload"]["output"]["text"]:
            piece, start, end = (
                entry if isinstance(entry, list) else (entry, text.find(entry), text.find(entry) + len(entry))
            )
            assert piece and text[start:end] == piece


def _is_problem(body: Any, status: int) -> None:
    assert 400 <= status < 500, body
    assert set(body) == {"type", "title", "status", "detail", "request_id"} and body["status"] == status and body["detail"]


def _stream_holds(text: str, events: str) -> None:
    found = [event.split("\n", 1) for event in events.strip().split("\n\n")]
    *spans, (last, data) = [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in found]
    if last == "error":
        _is_problem(data, data["status"])
    else:
        assert last == "done" and data["spans"] == len(spans)
    verbatim(text, [Span(**data) for _, data in spans])


KINDS: dict[str, tuple[Callable[[Random], Any], Callable[[Any], None]]] = {
    "texts": (text_case, text_holds),
    "requests": (request_case, request_holds),
}
"""How cases of each kind are drawn, and what must hold for them."""
