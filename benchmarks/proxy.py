"""What the proxy adds to a short request, which it has nothing to do for: ``python benchmarks/proxy.py --help``.

A provider that answers at once, and the proxy before it, are two processes of this machine; the same client asks both by
turns, over connections that stay open.
"""

import asyncio
import multiprocessing
import socket
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Annotated, Any

import httpx
import typer
import uvicorn

from cprs_core.machine import machine
from cprs_core.models import DEFAULT_MODEL

WARM_UP = 20
TURN = {"role": "user", "content": "Which of these two is older, and by how much? Say it in one sentence."}
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "The first, by two years."}}]}


def provider(port: int) -> None:
    """Answers every request with the same few bytes."""
    import json

    body = json.dumps(ANSWER).encode()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    uvicorn.run(app, port=port, log_level="error", lifespan="off")


def proxy(port: int, upstream: str, model: str) -> None:
    """The proxy as ``cprs proxy`` runs it."""
    from cprs_core import ContextCompressor
    from cprs_core.proxy.app import create_proxy
    from cprs_core.proxy.settings import Settings

    app = create_proxy(ContextCompressor.from_pretrained(model), Settings(upstream))
    uvicorn.run(app, port=port, log_level="error", access_log=False)


def free_port() -> int:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return int(some.getsockname()[1])


async def ask(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> float:
    """Milliseconds of one request."""
    began = time.perf_counter()
    answer = await client.post(f"{url}/v1/chat/completions", json=body)
    answer.raise_for_status()
    return 1000 * (time.perf_counter() - began)


async def measure(direct: str, through: str, runs: int, turns: int, at_once: int) -> None:
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=at_once)) as client:
        for url in (direct, through):
            await ready(client, url)
        body = {"model": "m", "messages": [TURN] * turns}
        times: dict[str, list[float]] = {direct: [], through: []}
        for number in range(WARM_UP + runs):
            for url, taken in times.items():
                milliseconds = await ask(client, url, body)
                if number >= WARM_UP:
                    taken.append(milliseconds)
        for name, url in (("direct", direct), ("through cprs", through)):
            p95 = quantiles(times[url], n=20)[-1]
            print(f"{name:<14} median {median(times[url]):6.2f} ms   95 % {p95:6.2f} ms")
        added = [b - a for a, b in zip(times[direct], times[through], strict=True)]
        print(f"{'added':<14} median {median(added):6.2f} ms   95 % {quantiles(added, n=20)[-1]:6.2f} ms")
        for name, url in (("direct", direct), ("through cprs", through)):
            began = time.perf_counter()
            await asyncio.gather(*(ask(client, url, body) for _ in range(runs)))
            print(f"{name:<14} {runs / (time.perf_counter() - began):6.0f} requests/s, {at_once} at once")


async def ready(client: httpx.AsyncClient, url: str) -> None:
    for _ in range(600):
        try:
            await ask(client, url, {"messages": []})
            return
        except httpx.TransportError:
            await asyncio.sleep(0.1)
    raise SystemExit(f"{url} did not start")


def main(
    runs: Annotated[int, typer.Option(help="Requests of each kind.")] = 500,
    turns: Annotated[int, typer.Option(help="Messages of a request, 15 words each.")] = 20,
    at_once: Annotated[int, typer.Option(help="Requests at a time, for requests a second.")] = 32,
    model: Annotated[str, typer.Option(help="cprs-small, a folder, or a Hugging Face id.")] = DEFAULT_MODEL,
) -> None:
    """Measure how much later an answer comes through the proxy than from the provider itself."""
    ports = free_port(), free_port()
    direct, through = (f"http://127.0.0.1:{port}" for port in ports)
    found = machine()
    spawn = multiprocessing.get_context("spawn")
    jobs: list[tuple[Callable[..., None], tuple[Any, ...]]] = [(provider, (ports[0],)), (proxy, (ports[1], direct, model))]
    processes = [spawn.Process(target=target, args=arguments, daemon=True) for target, arguments in jobs]
    for process in processes:
        process.start()
    try:
        asyncio.run(measure(direct, through, runs, turns, at_once))
    finally:
        for process in processes:
            process.terminate()
    print(f"{runs} requests of {turns} messages, {model}; {found['processor']}, {found['cores']} cores, {found['platform']}")


if __name__ == "__main__":
    typer.run(main)
