"""Clients of a service that must be processes of their own: one that feels its pulse, one that is killed. Standard library
only, so that they start at once and take little of the machine.

    python benchmarks/clients.py pulse HOST PORT        seconds that /health took, one a line, until standard input ends
    python benchmarks/clients.py hang HOST PORT < BODY  sends a request, and waits for an answer that it does not live to see
"""

import http.client
import select
import sys
import time


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


if __name__ == "__main__":
    {"pulse": pulse, "hang": hang}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
