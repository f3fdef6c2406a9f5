"""Clients of a service that are processes of their own: one that feels its pulse, one that is killed, one that asks many
things at once. Standard library only, so that they start at once and take little of the machine.

    python benchmarks/clients.py pulse HOST PORT        seconds that /health took, one a line, until standard input ends
    python benchmarks/clients.py hang HOST PORT < BODY  sends a request, and waits for an answer that it does not live to see
    python benchmarks/clients.py ask HOST PORT CONNECTIONS < BODIES    of one line each, then an empty one; prints replies
"""

import http.client
import select
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue


def pulse(host: str, port: int) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        began = time.perf_counter()
        connection.request("GET", "/health")
        reply = connection.getresponse()
        reply.read()
        if reply.status != 200:
            raise SystemExit(f"/health answered with {reply.status}")
        print(time.perf_counter() - began, flush=True)


def hang(host: str, port: int) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=600)
    body = sys.stdin.buffer.read()
    connection.connect()
    print("connected", flush=True)
    connection.request("POST", "/v1/compress", body, {"Content-Type": "application/json"})
    connection.getresponse()


def ask(host: str, port: int, number: int) -> None:
    """Connects, says so, and asks once it has got a line more."""
    bodies = list(iter(sys.stdin.buffer.readline, b"\n"))
    free: SimpleQueue[http.client.HTTPConnection] = SimpleQueue()
    for _ in range(number):
        connection = http.client.HTTPConnection(host, port, timeout=600)
        connection.connect()
        free.put(connection)

    def reply(body: bytes) -> str:
        connection = free.get()
        connection.request("POST", "/v1/compress", body, {"Content-Type": "application/json"})
        content = connection.getresponse().read()
        free.put(connection)
        return content.decode()

    print("connected", flush=True)
    sys.stdin.buffer.readline()
    with ThreadPoolExecutor(number) as pool:
        for content in pool.map(reply, bodies):
            print(content, flush=True)


if __name__ == "__main__":
    what, host, port, *rest = sys.argv[1:]
    {"pulse": pulse, "hang": hang, "ask": ask}[what](host, int(port), *map(int, rest))
