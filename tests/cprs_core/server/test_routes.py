"""The routes in the process: what they answer, what they refuse, and that every refusal is a problem."""

import json
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import pytest
from fakes import slowed, until

from cprs_core import Instruction
from cprs_core.server.auth import Keys

QUERY = "When does the licence end?"
KEY = "k" * 24


def problem(reply, status, kind=None):
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert set(body) == {"type", "title", "status", "detail", "request_id"}
    assert body["status"] == status
    assert body["request_id"] == reply.headers["x-request-id"]
    assert kind is None or body["type"] == f"urn:cprs:{kind}"
    return body["detail"]


def plain(results):
    return [{**result, "seconds": 0} for result in results]


@pytest.mark.parametrize("limits", [{}, {"max_tokens": 20}, {"ratio": 0.2}, {"threshold": 0.3}, {"ratio": 1}])
def test_one_text(http, compressor, prose, limits):
    body = http.post("/v1/compress", json={"text": prose, "query": QUERY, **limits}).json()
    alone = compressor.compress(prose, QUERY, **limits)
    assert plain(body["results"]) == plain([alone.to_dict()])
    assert (body["input_tokens"], body["kept_tokens"]) == (alone.input_tokens, alone.kept_tokens)
    assert body["ratio"] == alone.ratio and body["model"] == compressor.model_name


def test_documents_share_a_budget_and_pairs_do_not(http, compressor, prose):
    texts = [prose[:400], "", prose[400:]]
    body = http.post("/v1/compress", json={"documents": texts, "query": QUERY, "max_tokens": 30}).json()
    alone = compressor.compress_documents(texts, QUERY, max_tokens=30)
    assert plain(body["results"]) == plain(one.to_dict() for one in alone)
    assert body["kept_tokens"] <= 30
    pairs = [(text, f"{QUERY} {i}") for i, text in enumerate(texts)]
    asked = {"pairs": [{"text": text, "query": query} for text, query in pairs], "ratio": 0.3}
    body = http.post("/v1/compress", json=asked).json()
    assert plain(body["results"]) == plain(one.to_dict() for one in compressor.compress_batch(pairs, ratio=0.3))


def test_no_documents_are_no_results(http):
    assert http.post("/v1/compress", json={"documents": [], "query": QUERY}).json()["results"] == []


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ({"preset": "answer"}, Instruction.answer()),
        ({"preset": "entities:drugs"}, Instruction.entities("drugs")),
        ({"instruction": "Keep the numbers."}, Instruction.from_text("Keep the numbers.")),
        (
            {"instruction": {"prompt": "Find needles.", "tags": ["needle"], "unit": "word"}},
            Instruction("Find needles.", ("needle",), "word"),
        ),
    ],
)
def test_what_to_keep(http, compressor, prose, asked, meant):
    body = http.post("/v1/compress", json={"text": prose, "query": QUERY, **asked}).json()
    assert plain(body["results"]) == plain([compressor.compress(prose, QUERY, meant).to_dict()])


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ({"query": QUERY}, "input-error", "one of text, documents and pairs"),
        ({"text": "a", "documents": ["b"], "query": QUERY}, "input-error", "one of text"),
        ({"text": "a"}, "input-error", "give a query"),
        ({"text": "a", "query": " "}, "input-error", "query is empty"),
        ({"text": 5, "query": QUERY}, "input-error", "text"),
        ({"documents": ["a", None], "query": QUERY}, "input-error", "documents.1"),
        ({"text": "\ud800", "query": QUERY}, "input-error", "surrogate"),
        ({"text": "a", "query": "\udfff"}, "input-error", "surrogate"),
        ({"text": "a", "query": "long " * 300}, "input-error", "window"),
        ({"text": "a", "query": QUERY, "max_tokens": 0}, "budget-error", "from 1 on"),
        ({"text": "a", "query": QUERY, "max_tokens": True}, "input-error", "max_tokens"),
        ({"text": "a", "query": QUERY, "max_tokens": 10**30}, None, ""),
        ({"text": "a", "query": QUERY, "ratio": 2}, "budget-error", "up to 1"),
        ({"text": "a", "query": QUERY, "ratio": 0.5, "max_tokens": 5}, "budget-error", "two budgets"),
        ({"text": "a", "query": QUERY, "ratio": float("nan")}, "budget-error", "ratio"),
        ({"text": "a", "query": QUERY, "preset": "nothing\ud800"}, "instruction-error", "unknown preset"),
        ({"text": "a", "query": QUERY, "preset": "code", "instruction": "b"}, "instruction-error", "give one of them"),
        ({"text": "a", "query": QUERY, "instruction": {"prompt": ""}}, "instruction-error", "empty"),
        ({"text": "a", "query": QUERY, "instruction": {"prompt": "x", "unit": "page"}}, "input-error", "unit"),
        ({"text": "a", "query": QUERY, "max_token": 5}, "input-error", "max_token"),
        ({"text": "a", "query": QUERY, "stream": True, "max_tokens": 5}, "input-error", "stream"),
        ({"documents": ["a"], "query": QUERY, "stream": True}, "input-error", "stream"),
        ({"text": "a", "query": " ", "stream": True}, "input-error", "query is empty"),
        ([], "input-error", ""),
        ("text", "input-error", ""),
        (None, "input-error", ""),
    ],
)
def test_unusable_bodies(http, body, kind, words):
    reply = http.post("/v1/compress", content=json.dumps(body), headers={"Content-Type": "application/json"})
    if kind is None:
        assert reply.status_code == 200
    else:
        assert words in problem(reply, 422, kind)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{not json",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"text":' * 100_000,
        b"1" * 10_000,
        b'{"a":' + b"9" * 9999 + b"}",
    ],
)
def test_bodies_that_are_no_json(http, content):
    reply = http.post("/v1/compress", content=content, headers={"Content-Type": "application/json"})
    problem(reply, reply.status_code)
    assert 400 <= reply.status_code < 500


def test_what_is_not_there(http):
    problem(http.get("/nothing"), 404)
    problem(http.get("/v1/compress"), 405)


def test_a_problem_does_not_repeat_the_text(http):
    reply = http.post("/v1/compress", json={"text": ["confidential"], "query": 5, "max_tokens": "confidential"})
    assert "confidential" not in reply.text
    assert problem(reply, 422).count(";") == 2


def test_ids_are_taken_over_or_made(http):
    assert http.get("/health", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = {http.get("/health", headers={"X-Request-Id": odd}).headers["x-request-id"] for odd in ("", "a b", "x" * 99)}
    assert len(made) == 3 and not made & {"a b", "x" * 99}


def test_rerank_sorts_by_the_best_candidate(http, compressor, prose):
    texts = [prose[:200], "", prose[200:500], prose[500:]]
    body = http.post("/v1/rerank", json={"query": QUERY, "documents": texts, "model": "any"}).json()
    scores = compressor.relevance(texts, QUERY)
    assert [one["index"] for one in body["results"]] == sorted(range(4), key=lambda i: -scores[i])
    for one in body["results"]:
        assert one["relevance_score"] == pytest.approx(scores[one["index"]], abs=1e-4)
        assert "document" not in one
    assert scores[1] == 0 and max(scores) > 0
    assert body["usage"]["total_tokens"] == sum(map(compressor.count_tokens, texts))


def test_relevance_is_the_best_score_of_what_could_be_kept(compressor, prose):
    (found,) = compressor.relevance([prose], QUERY, Instruction.paragraphs())
    kept = compressor.compress(prose, QUERY, Instruction.paragraphs(), max_tokens=10_000, threshold=found)
    assert max(span.score for span in kept.spans) == pytest.approx(found, abs=1e-6)


def test_rerank_returns_documents_and_the_best_few(http, prose):
    asked = {"query": QUERY, "documents": [{"text": prose[:99]}, prose[99:200], "c"], "top_n": 2, "return_documents": True}
    results = http.post("/v1/rerank", json=asked).json()["results"]
    texts = [prose[:99], prose[99:200], "c"]
    assert len(results) == 2
    assert all(one["document"] == {"text": texts[one["index"]]} for one in results)


@pytest.mark.parametrize("wrong", [{"top_n": 0}, {"documents": [5]}, {"documents": "a"}, {"query": ""}])
def test_rerank_refuses(http, wrong):
    problem(http.post("/v1/rerank", json={"query": QUERY, "documents": ["a"], **wrong}), 422)


def test_models_and_tokens(http, compressor):
    (model,) = http.get("/v1/models").json()["data"]
    assert model["id"] == compressor.model_name and model["window_size"] == compressor.window_size
    assert http.post("/v1/tokens", json={"text": "Ann owns it."}).json()["tokens"] == compressor.count_tokens("Ann owns it.")


def test_keys_close_all_but_health_and_readiness(compressor, http_of):
    http = http_of(compressor, keys=Keys([KEY]))
    for path in ("/v1/models", "/metrics", "/nothing", "/docs"):
        problem(http.get(path), 401, "auth-error")
    reply = http.post("/v1/compress", content=b"{" * 99, headers={"Authorization": "Bearer wrong"})
    problem(reply, 401, "auth-error")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert http.get("/health").json() == {"status": "ok"} and http.get("/ready").json() == {"status": "ready"}
    assert http.get("/v1/models", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200


@pytest.mark.parametrize("name", ["key", "api_key", "api-key", "access_token", "Authorization", "token"])
def test_a_key_in_the_query_opens_nothing(compressor, http_of, caplog, name):
    http = http_of(compressor, keys=Keys([KEY]))
    with caplog.at_level(logging.DEBUG, "cprs_core.server"):
        for value in (KEY, f"Bearer {KEY}"):
            problem(http.get("/v1/models", params={name: value}), 401, "auth-error")
        problem(http.post("/v1/tokens", params={name: KEY}, json={"text": "a", name: KEY}), 401, "auth-error")
        problem(http.get("/v1/models", headers={"X-Api-Key": KEY, "Cookie": f"{name}={KEY}"}), 401, "auth-error")
    assert KEY not in caplog.text and "401" in caplog.text


def test_a_key_that_is_revoked_opens_nothing_any_more(compressor, http_of, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n{'o' * 24}\n")
    http = http_of(compressor, keys=Keys.load(file))
    asked = {"headers": {"Authorization": f"Bearer {KEY}"}}
    assert http.get("/v1/models", **asked).status_code == 200
    file.write_text("o" * 24)
    problem(http.get("/v1/models", **asked), 401, "auth-error")
    file.write_text(KEY)
    assert http.get("/v1/models", **asked).status_code == 200


def test_limits_of_documents_tokens_and_bytes(compressor, http_of, prose):
    http = http_of(compressor, max_documents=2, max_tokens=50, max_body=5000)
    detail = problem(http.post("/v1/compress", json={"documents": ["a"] * 3, "query": QUERY}), 413, "limit-error")
    assert "2 documents, got 3" in detail
    assert http.post("/v1/compress", json={"documents": ["a"] * 2, "query": QUERY}).status_code == 200
    for path in ("/v1/compress", "/v1/rerank"):
        body = {"documents": [prose[:300]], "query": QUERY}
        assert "50 tokens, got" in problem(http.post(path, json=body), 413, "limit-error")
    body = {"text": prose[:300], "query": QUERY, "stream": True}
    problem(http.post("/v1/compress", json=body), 413, "limit-error")
    assert "5,000 bytes" in problem(http.post("/v1/compress", content=b" " * 5001), 413, "limit-error")

    def chunks():
        for _ in range(100):
            yield b" " * 1000

    reply = http.post("/v1/compress", content=chunks(), headers={"Content-Type": "application/json"})
    assert "5,000 bytes" in problem(reply, 413, "limit-error")


def test_more_requests_than_places_are_told_to_come_back(compressor, http_of, prose):
    slow, brake = slowed(compressor)
    http = http_of(slow, max_in_flight=2)
    brake.free.clear()
    with ThreadPoolExecutor(2) as pool:
        body = {"text": prose[:100], "query": QUERY}
        working = [pool.submit(http.post, "/v1/compress", json=body) for _ in range(2)]
        until(lambda: len(http.app.state.service._tickets) == 2)
        reply = http.post("/v1/compress", json=body)
        problem(reply, 429, "busy-error")
        assert int(reply.headers["retry-after"]) >= 1
        assert http.get("/health").status_code == http.get("/metrics").status_code == 200
        brake.free.set()
        assert all(one.result(10).status_code == 200 for one in working)
    assert http.post("/v1/compress", json=body).status_code == 200


def test_deadlines_of_the_service_and_of_the_header(compressor, http_of, prose):
    slow, brake = slowed(compressor, 0.1)
    http = http_of(slow, deadline=0.3)
    body = {"text": prose * 3, "query": QUERY}
    assert "0.3 s" in problem(http.post("/v1/compress", json=body), 504, "deadline-error")
    reply = http.post("/v1/compress", json=body, headers={"X-Request-Timeout": "0.15"})
    assert "0.15 s" in problem(reply, 504)
    assert "0.3 s" in problem(http.post("/v1/compress", json=body, headers={"X-Request-Timeout": "50"}), 504)
    until(lambda: not http.app.state.service._tickets and http.app.state.service.engine.queued == 0)
    done = brake.batches
    assert done < 15
    for odd in ("0", "-1", "nan", "soon", "inf"):
        problem(http.post("/v1/compress", json=body, headers={"X-Request-Timeout": odd}), 422, "input-error")


def test_a_deadline_in_a_stream_is_its_last_event(compressor, http_of, prose):
    slow, _ = slowed(compressor, 0.1)
    reply = http_of(slow, deadline=0.35).post("/v1/compress", json={"text": prose * 3, "query": QUERY, "stream": True})
    assert reply.status_code == 200
    last = reply.text.strip().split("\n\n")[-1].splitlines()
    assert last[0] == "event: error" and json.loads(last[1].removeprefix("data: "))["type"] == "urn:cprs:deadline-error"


def test_our_own_faults_are_500_and_logged_without_text(compressor, http_of, prose, caplog):
    slow, brake = slowed(compressor)
    http = http_of(slow)
    brake.error = ZeroDivisionError("confidential words")
    with caplog.at_level(logging.INFO, "cprs_core.server"):
        reply = http.post("/v1/compress", json={"text": prose[:99], "query": "confidential?"})
    detail = problem(reply, 500)
    assert "confidential" not in detail + caplog.text and "licence" not in caplog.text
    assert reply.json()["request_id"] in caplog.text and "ZeroDivisionError" in caplog.text
    brake.error = None
    assert http.post("/v1/compress", json={"text": prose[:99], "query": QUERY}).status_code == 200


def test_a_fault_in_a_stream_is_its_last_event(compressor, http_of, prose):
    slow, brake = slowed(compressor)
    brake.error = ZeroDivisionError("confidential words")
    reply = http_of(slow).post("/v1/compress", json={"text": prose[:99], "query": QUERY, "stream": True})
    assert "event: error" in reply.text and '"status": 500' in reply.text and "confidential" not in reply.text


def test_a_silent_stream_shows_that_it_lives(compressor, http_of, prose, monkeypatch):
    monkeypatch.setattr("cprs_core.server.service.BEAT", 0.03)
    slow, _ = slowed(compressor, 0.2)
    reply = http_of(slow).post("/v1/compress", json={"text": prose[:99], "query": QUERY, "stream": True})
    assert reply.text.startswith(": at work\n\n") and "event: done" in reply.text


def test_metrics(compressor, http_of, prose):
    http = http_of(compressor)
    result = http.post("/v1/compress", json={"text": prose, "query": QUERY}).json()
    http.get("/nothing/1")
    http.get("/nothing/2")
    http.post("/v1/compress", content=b"text")
    lines = dict(line.rsplit(" ", 1) for line in http.get("/metrics").text.splitlines() if line[0] != "#")
    assert lines['cprs_requests_total{route="/v1/compress",status="200"}'] == "1.0"
    assert lines['cprs_requests_total{route="other",status="404"}'] == "2.0"
    assert lines['cprs_requests_total{route="/v1/compress",status="415"}'] == "1.0"
    assert float(lines['cprs_tokens_total{kind="in"}']) == result["input_tokens"]
    assert float(lines['cprs_tokens_total{kind="kept"}']) == result["kept_tokens"]
    assert float(lines["cprs_windows_total"]) > 1 and float(lines["cprs_queue_windows"]) == 0
    assert lines['cprs_request_seconds_count{route="/v1/compress"}'] == "2.0"


def test_cors_is_off_unless_asked_for(http, compressor, http_of):
    asked = {"Origin": "https://a.org", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in http.options("/v1/compress", headers=asked).headers
    reply = http_of(compressor, origins=("https://a.org",)).options("/v1/compress", headers=asked)
    assert reply.headers["access-control-allow-origin"] == "https://a.org"


def test_the_routes_are_described(http):
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/v1/compress", "/v1/rerank", "/v1/models", "/health", "/ready", "/metrics"} <= set(paths)


def test_spans_for_opentelemetry_where_it_is_installed(http, monkeypatch):
    spans = []

    class Tracer:
        @contextmanager
        def start_as_current_span(self, name, context, attributes):
            spans.append((name, context))
            yield

    trace, propagate = ModuleType("opentelemetry.trace"), ModuleType("opentelemetry.propagate")
    trace.get_tracer = lambda name: Tracer()
    trace.get_current_span = lambda: SimpleNamespace(is_recording=lambda: False)
    propagate.extract = lambda headers: headers["traceparent"]
    package = ModuleType("opentelemetry")
    package.trace, package.propagate = trace, propagate
    for module in (package, trace, propagate):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    http.post("/v1/compress", json={"text": "Ann owns it.", "query": QUERY}, headers={"traceparent": "caller"})
    assert spans == [("cprs.request", "caller"), ("cprs.compress", None)]


def test_a_service_that_is_closed_has_no_threads_left(compressor, http_of, prose):
    http = http_of(compressor)
    http.post("/v1/compress", json={"text": prose, "query": QUERY})
    service = http.app.state.service
    service.close()
    assert not service.engine._thread.is_alive()
    problem(http.get("/ready"), 503, "service-error")
    problem(http.post("/v1/compress", json={"text": prose, "query": QUERY}), 503, "service-error")
    assert threading.active_count() < 300
