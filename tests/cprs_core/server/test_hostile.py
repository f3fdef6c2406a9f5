"""Clients that are slow, broken or mean, on real sockets: they get a problem or are cut off, and others notice nothing."""

import json
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest
from fakes import slowed, until

from .conftest import living

QUERY = "When does the licence end?"
HEAD = b"POST /v1/compress HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


def request(body, *headers):
    lines = b"".join(line + b"\r\n" for line in (b"Content-Length: %d" % len(body), *headers))
    return HEAD + lines + b"\r\n" + body


def asked(text, **more):
    return json.dumps({"text": text, "query": QUERY, **more}).encode()


@contextmanager
def connected(server, seconds=10.0):
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=seconds) as connection:
        yield connection


def answer(connection):
    """All that comes until the server closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def problem(reply, *statuses):
    """A raw response that is a problem."""
    head, _, body = reply.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status in statuses, reply
    assert b"application/problem+json" in head and b"connection: close" in head.lower()
    found = json.loads(body)
    assert set(found) == {"type", "title", "status", "detail", "request_id"} and found["status"] == status
    return found["detail"]


def held(server):
    """Connections that the server has."""
    return len(server.server_state.connections)


def compressed(server, text="Ann owns it."):
    reply = httpx.post(f"{server.url}/v1/compress", json={"text": text, "query": QUERY, "ratio": 1.0}, timeout=20)
    assert reply.status_code == 200, reply.text
    assert all(text[span["start"] : span["end"]] == span["text"] for span in reply.json()["results"][0]["spans"])


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """What is refused is closed soon."""
    monkeypatch.setattr("cprs_core.server.gate._LINGER", 0.2)


@pytest.fixture(scope="module")
def hasty(compressor):
    """A service that waits for nobody long."""
    with living(compressor, headers_timeout=0.4, body_timeout=0.6, max_body=200_000) as server:
        yield server


def trickle(connection, data, pause=0.02):
    """Sends a byte at a time, until it is done or cut off. Returns the seconds that it took."""
    began = time.monotonic()
    try:
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(pause)
    except OSError:
        pass
    return time.monotonic() - began


def test_a_head_that_comes_byte_by_byte_is_cut_off(hasty):
    with connected(hasty) as slow:
        assert trickle(slow, HEAD) < 1.5
        assert "head" in problem(answer(slow), 408)


def test_a_body_that_comes_byte_by_byte_is_cut_off(hasty):
    with connected(hasty) as slow:
        slow.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        assert trickle(slow, b" " * 1000) < 2.5
        assert "body" in problem(answer(slow), 408)


def test_a_silent_connection_is_closed_without_a_word(hasty):
    with connected(hasty, 3) as silent:
        assert answer(silent) == b""


def test_a_body_that_nobody_reads_holds_no_connection(hasty):
    with connected(hasty, 5) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        assert trickle(slow, b" " * 1000) < 1.5
        assert answer(slow).startswith(b"HTTP/1.1 200")
    until(lambda: held(hasty) == 0)


def test_an_answer_that_is_not_taken_is_thrown_away(hasty):
    with socket.socket() as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.connect(("127.0.0.1", int(hasty.url.rsplit(":", 1)[1])))
        idle.settimeout(5)
        with suppress(OSError):  # it may be over before all is sent
            idle.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 20_000)
        until(lambda: held(hasty) == 0)


def test_many_slow_clients_hold_nobody_up(compressor):
    with living(compressor, max_in_flight=2) as server, ExitStack() as stack:
        slow = [stack.enter_context(connected(server)) for _ in range(200)]
        for number, connection in enumerate(slow):
            connection.sendall(HEAD + (b"" if number % 2 else b"Content-Length: 500\r\n\r\n{"))
        until(lambda: held(server) == 200)
        with httpx.Client(base_url=server.url) as http:
            waits = []
            for _ in range(40):
                for connection in slow[:20]:
                    connection.sendall(b" ")
                began = time.perf_counter()
                assert http.get("/health").status_code == 200
                waits.append(time.perf_counter() - began)
        for _ in range(3):
            compressed(server)
        assert sorted(waits)[len(waits) // 2] < 0.05


def test_those_that_have_kept_the_service_waiting_longest_make_room(compressor):
    with living(compressor, max_connections=10) as server, ExitStack() as stack:
        old = stack.enter_context(connected(server))
        old.sendall(HEAD)
        slow = stack.enter_context(connected(server))
        slow.sendall(HEAD + b"Content-Length: 500\r\n\r\n{")
        for _ in range(30):
            stack.enter_context(connected(server)).sendall(b"P")
        assert "--max-connections" in problem(answer(old), 429)
        assert answer(slow) == b""  # in the middle of its request
        until(lambda: held(server) <= 10)
        compressed(server)


def test_a_request_at_work_is_not_sent_away_for_others(compressor, prose):
    slow, brake = slowed(compressor)
    with living(slow, max_connections=3) as server, ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        brake.free.clear()
        working = pool.submit(compressed, server, prose[:200])
        until(lambda: server.service._tickets)
        for _ in range(8):
            stack.enter_context(connected(server))
        until(lambda: held(server) <= 3)
        brake.free.set()
        working.result(20)


@pytest.mark.parametrize("part", [1.0, 0.5])
def test_half_closed_connections_end_and_so_does_their_work(compressor, prose, part):
    slow, brake = slowed(compressor, 0.02)
    with living(slow) as server, connected(server) as half:
        whole = request(asked(prose * 20))
        half.sendall(whole[: int(part * len(whole))])
        if part == 1:
            until(lambda: brake.batches > 0)
        half.shutdown(socket.SHUT_WR)
        assert answer(half) == b""
        until(lambda: held(server) == 0 and not server.service._tickets and server.service._bytes == 0)
        compressed(server)


@pytest.mark.parametrize("length", [b"200001", b"1" * 19, b"9" * 19])
def test_a_body_that_says_it_is_too_large_is_not_read(hasty, length):
    with connected(hasty) as connection:
        connection.sendall(HEAD + b"Content-Length: " + length + b"\r\n\r\n")
        assert "200,000 bytes" in problem(answer(connection), 413)


def test_a_body_without_end_is_cut_off(hasty):
    with connected(hasty) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        began, chunk = time.monotonic(), b"2710\r\n" + b" " * 10_000 + b"\r\n"
        with suppress(OSError):
            while time.monotonic() < began + 10:
                connection.sendall(chunk)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,  # TLS
        b"\0" * 100,
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/one\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\nbad header\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",  # no host
        b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000,
        b"GET /" + b"x" * 100_000,
        b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"X-%d: y\r\n" * 20_000,
        HEAD + b"Content-Length: -5\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        HEAD + b"Content-Length: " + b"9" * 100 + b"\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_a_problem(hasty, data):
    with connected(hasty) as connection:
        connection.sendall(data)
        problem(answer(connection), 400, 431, 501)
    until(lambda: held(hasty) == 0)


def test_broken_chunks_end_their_request_alone(hasty):
    with connected(hasty) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{    \r\n")
        time.sleep(0.1)
        connection.sendall(b"this is no chunk\r\n" * 3)
        problem(answer(connection), 400)
    compressed(hasty)


def test_pipelined_requests_are_answered_in_order(hasty):
    texts = [f"Client {n} owns the house." for n in range(5)]
    with connected(hasty) as connection:
        close = [b"Connection: close"]
        parts = [request(asked(text, ratio=1.0), *(close if text is texts[-1] else ())) for text in texts]
        connection.sendall(b"".join(parts))
        replies = answer(connection).split(b"HTTP/1.1 200 OK")
    results = [json.loads(reply.partition(b"\r\n\r\n")[2])["results"][0] for reply in replies[1:]]
    assert [result["text"] for result in results] == texts


def test_a_body_is_asked_for_only_if_it_will_be_read(hasty):
    for head, first in ((b"Content-Length: 2\r\n", b"HTTP/1.1 100"), (b"Content-Length: 900000\r\n", b"HTTP/1.1 413")):
        with connected(hasty) as connection:
            connection.sendall(HEAD + head + b"Expect: 100-continue\r\n\r\n")
            assert connection.recv(4096).startswith(first)


def test_there_are_no_web_sockets(hasty):
    with connected(hasty) as connection:
        connection.sendall(
            b"GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b" 101 " not in answer(connection)


def test_a_tls_client_fails_at_once(hasty):
    with connected(hasty) as connection, pytest.raises(ssl.SSLError):
        ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")


def test_bytes_of_all_bodies_are_bounded(compressor):
    with living(compressor, max_bodies=100_000) as server, ExitStack() as stack:
        parts = [stack.enter_context(connected(server)) for _ in range(3)]
        for connection in parts[:2]:
            connection.sendall(HEAD + b"Content-Length: 50000\r\n\r\n" + b" " * 45_000)
        until(lambda: server.service._bytes == 90_000)
        parts[2].sendall(HEAD + b"Content-Length: 50000\r\n\r\n" + b" " * 45_000)
        assert "100,000 bytes" in problem(answer(parts[2]), 429)
        compressed(server)
        for connection in parts[:2]:
            connection.close()
        until(lambda: server.service._bytes == 0)
