"""A real server on a port: streams, many clients at once, hanging up, slow bodies, health under load, and stopping."""

import gc
import json
import socket
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest
from fakes import slowed, until

from cprs_core import Span

from .conftest import living

QUERY = "When does the licence end?"


def plain(result):
    return {**result, "seconds": 0}


def same_spans(found, alone):
    """Equal but for the last digits of scores, which batches change."""
    assert [Span(**{**one, "score": 0}) for one in found] == [replace(one, score=0) for one in alone]
    assert [one["score"] for one in found] == pytest.approx([one.score for one in alone], abs=1e-4)


def same(found, alone):
    same_spans(found["spans"], alone.spans)
    assert (found["text"], found["input_tokens"], found["kept_tokens"]) == (
        alone.text,
        alone.input_tokens,
        alone.kept_tokens,
    )


def test_32_clients_at_once_get_their_own_results(live, compressor, prose):
    asked = []
    for i in range(32):
        text = f"Client {i} says: {prose[7 * i : 7 * i + (900, 60, 300)[i % 3]]}" * (8 if i % 15 == 0 else 1)
        asked.append((text, f"What does client {i} say?", ({}, {"max_tokens": 20}, {"ratio": 0.3})[i % 3]))
    start = threading.Barrier(32)

    def call(text, query, limits):
        start.wait()
        reply = httpx.post(f"{live.url}/v1/compress", json={"text": text, "query": query, **limits}, timeout=30)
        return reply.json()["results"][0]

    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda one: call(*one), asked))
    for (text, query, limits), result in zip(asked, found, strict=True):
        assert result["query"] == query
        same(result, compressor.compress(text, query, **limits))


def test_64_short_requests_at_once_take_a_fifth_of_the_batches(compressor):
    """Where a batch takes the device as long as a window does, as on a GPU, they are five times as fast then."""
    slow, brake = slowed(compressor)
    slow.engine.batch_tokens = 4096
    body = {"text": "Ann owns it. Nobody knows why.", "query": QUERY}
    with living(slow) as server, ThreadPoolExecutor(64) as pool, httpx.Client(base_url=server.url, timeout=30) as http:
        brake.free.clear()
        running = [pool.submit(http.post, "/v1/compress", json=body) for _ in range(64)]
        until(lambda: len(server.service.engine._calls) == 64)
        brake.free.set()
        assert all(one.result().status_code == 200 for one in running)
    assert brake.batches <= 64 / 5


def test_spans_come_while_the_rest_is_still_read(compressor, prose):
    slow, brake = slowed(compressor, 0.02)
    with living(slow) as server:
        body = {"text": prose * 6, "query": QUERY, "stream": True}
        times, found = [], []
        with httpx.stream("POST", f"{server.url}/v1/compress", json=body, timeout=30) as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            for line in reply.iter_lines():
                if line.startswith("data: "):
                    times.append(brake.batches)
                    found.append(json.loads(line.removeprefix("data: ")))
    *spans, totals = found
    same_spans(spans, list(compressor.stream(prose * 6, QUERY)))
    assert totals["spans"] == len(spans) and totals["input_tokens"] == compressor.count_tokens(prose * 6)
    assert times[0] < brake.batches / 2


@pytest.mark.parametrize("stream", [False, True])
def test_work_ends_when_the_client_hangs_up(compressor, prose, stream):
    slow, brake = slowed(compressor, 0.03)
    with living(slow) as server:
        body = {"text": prose * 40, "query": QUERY, "stream": stream}
        if stream:
            with httpx.stream("POST", f"{server.url}/v1/compress", json=body, timeout=30) as reply:
                next(reply.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{server.url}/v1/compress", json=body, timeout=0.3)
        until(lambda: not server.service._tickets and server.service.engine.queued == 0, 5)
        done = brake.batches
        time.sleep(0.15)
        assert brake.batches <= done + 1 < 100  # the one that ran
        assert 'status="499"' in server.service.metrics.page().decode() or stream


@pytest.mark.parametrize("how", ["done", "fault", "deadline", "gone", "stream", "stream fault", "stream gone"])
def test_a_request_that_has_ended_leaves_nothing_behind(compressor, prose, monkeypatch, how):
    """Not even until the next garbage collection: a few errors that hold long texts would be gigabytes."""
    slow, brake = slowed(compressor, 0.01)
    brake.error = ZeroDivisionError("of a test") if "fault" in how else None
    jobs, make = [], slow._jobs

    def noted(*given):
        made = make(*given)
        jobs.extend(map(weakref.ref, made))
        return made

    monkeypatch.setattr(slow, "_jobs", noted)
    body = {"text": prose * 10, "query": QUERY, "stream": "stream" in how}
    headers = {"X-Request-Timeout": "0.2"} if how == "deadline" else {}
    with living(slow) as server:
        gc.collect()
        gc.disable()
        try:
            with (
                suppress(httpx.ReadTimeout),
                httpx.stream(
                    "POST", f"{server.url}/v1/compress", json=body, headers=headers, timeout=0.1 if "gone" in how else 20
                ) as reply,
            ):
                assert reply.status_code == {"fault": 500, "deadline": 504}.get(how, 200)
                for _ in reply.iter_lines():
                    if how == "stream gone":
                        break
            until(lambda: not server.service._tickets and server.service.engine.queued == 0)
            until(lambda: jobs and not any(job() for job in jobs), 3)
        finally:
            gc.enable()


def test_health_answers_at_once_while_a_long_text_runs(compressor, prose):
    slow, _ = slowed(compressor, 0.02)
    with living(slow) as server, ThreadPoolExecutor(1) as pool, httpx.Client(base_url=server.url) as http:
        body = {"text": prose * 60, "query": QUERY}
        working = pool.submit(httpx.post, f"{server.url}/v1/compress", json=body, timeout=60)
        until(lambda: server.service.engine.queued > 0)
        seconds = []
        for _ in range(30):
            began = time.perf_counter()
            assert http.get("/health").status_code == 200
            seconds.append(time.perf_counter() - began)
        short = http.post("/v1/compress", json={"text": prose[:100], "query": QUERY}, timeout=30)
        assert short.status_code == 200 and not working.done()
        assert sorted(seconds)[len(seconds) // 2] < 0.1
        server.service._tickets.copy().pop().cancel(RuntimeError("enough"))
        working.result()


def test_a_slow_body_is_cut_off_and_holds_nobody_up(compressor):
    with (
        living(compressor, body_timeout=0.3) as server,
        socket.create_connection(("127.0.0.1", int(server.url[-5:]))) as slow,
    ):
        slow.sendall(
            b"POST /v1/compress HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
        )
        began = time.monotonic()
        assert httpx.get(f"{server.url}/health").status_code == 200
        slow.settimeout(5)
        reply = b""
        while part := slow.recv(4096):
            reply += part
        assert reply.startswith(b"HTTP/1.1 408") and b"problem+json" in reply
        assert time.monotonic() - began < 3


def test_a_body_without_a_length_is_refused_at_the_limit_and_the_answer_arrives(compressor):
    headers = {"Content-Type": "application/json"}
    with living(compressor, max_body=50_000) as server:
        body = (b" " * 10_000 for _ in range(2000))
        reply = httpx.post(f"{server.url}/v1/compress", content=body, headers=headers, timeout=20)
        assert reply.status_code == 413 and reply.json()["type"] == "urn:cprs:limit-error"
        assert httpx.get(f"{server.url}/health").status_code == 200


def test_stopping_lets_those_at_work_finish(compressor, prose):
    slow, brake = slowed(compressor, 0.05)
    with living(slow, grace=20) as server, ThreadPoolExecutor(1) as pool:
        working = pool.submit(httpx.post, f"{server.url}/v1/compress", json={"text": prose, "query": QUERY}, timeout=30)
        until(lambda: brake.batches > 0)
        server.should_exit = True
        reply = working.result(20)
        assert reply.status_code == 200
        same(reply.json()["results"][0], compressor.compress(prose, QUERY))
        server.thread.join(10)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health")


def test_stopping_fails_those_that_take_too_long(compressor, prose):
    slow, brake = slowed(compressor, 0.05)
    with living(slow, grace=0.3) as server, ThreadPoolExecutor(1) as pool:
        body = {"text": prose * 100, "query": QUERY}
        working = pool.submit(httpx.post, f"{server.url}/v1/compress", json=body, timeout=30)
        until(lambda: brake.batches > 0)
        began = time.monotonic()
        server.should_exit = True
        reply = working.result(20)
        assert reply.status_code == 503 and reply.json()["type"] == "urn:cprs:service-error"
        assert "shut down" in reply.json()["detail"] and "retry-after" in reply.headers
        server.thread.join(10)
        assert time.monotonic() - began < 5


def test_stopping_ends_a_stream_with_an_error(compressor, prose):
    slow, brake = slowed(compressor, 0.05)
    with living(slow, grace=0.2) as server, ThreadPoolExecutor(1) as pool:
        body = {"text": prose * 100, "query": QUERY, "stream": True}
        working = pool.submit(httpx.post, f"{server.url}/v1/compress", json=body, timeout=30)
        until(lambda: brake.batches > 2)
        server.should_exit = True
        last = working.result(20).text.strip().split("\n\n")[-1]
        assert last.startswith("event: error") and "urn:cprs:service-error" in last


def test_while_stopping_no_new_work_is_taken(compressor, prose):
    slow, brake = slowed(compressor, 0.05)
    with living(slow, grace=5) as server, httpx.Client(base_url=server.url) as http, ThreadPoolExecutor(1) as pool:
        working = pool.submit(httpx.post, f"{server.url}/v1/compress", json={"text": prose, "query": QUERY}, timeout=30)
        until(lambda: brake.batches > 0)
        server.service._stopping = True
        assert http.get("/ready").status_code == 503
        assert http.get("/health").status_code == 200
        assert http.post("/v1/compress", json={"text": "a", "query": QUERY}).status_code == 503
        assert working.result(20).status_code == 200
