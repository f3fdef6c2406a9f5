"""How a service holds up under many clients: ``python benchmarks/serve.py --help``.

Starts ``cprs serve`` as a process of its own and asks it over HTTP. Every reply is checked against its own request: the
spans must lie in the text that was sent, and name the number that only this text holds.
"""

import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Annotated

import httpx
import psutil
import typer

from cprs_core import CprsClient, CprsError
from cprs_core.machine import machine

QUERY = "Which locker holds the blue coat?"
FILLER = "The ferry was late again. Nobody on the pier knew why. It had rained since dawn. "


def main(
    model: Annotated[str, typer.Option(help="Model name or folder.")] = "cprs-small",
    device: Annotated[str, typer.Option(help="cpu, cuda ...")] = "cpu",
    requests: Annotated[int, typer.Option(min=2, help="Short requests, one at a time and all at once.")] = 64,
    long: Annotated[int, typer.Option(min=100, help="Words of the request during which /health is asked.")] = 60_000,
    clients: Annotated[int, typer.Option(min=1, help="Clients of the mixed load.")] = 64,
    seconds: Annotated[float, typer.Option(min=1, help="How long they go on.")] = 60,
    longest: Annotated[int, typer.Option(min=100, help="Words of the longest mixed request; the shortest has 40.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Draws lengths and numbers.")] = 0,
) -> None:
    """Throughput of short requests, liveness during a long one, and a mixed load."""
    rng = random.Random(seed)
    with service(model, device) as (url, process), CprsClient(url) as client:
        client.compress(FILLER, QUERY)  # warm-up
        texts = [text(40, rng) for _ in range(requests)]
        alone = timed(lambda: [checked(client, one) for one in texts])
        with ThreadPoolExecutor(requests) as pool:
            together = timed(lambda: list(pool.map(lambda one: checked(client, one), texts)))
        typer.echo(
            f"{requests} requests of 40 words: one at a time {requests / alone:.1f}/s, "
            f"all at once {requests / together:.1f}/s ({alone / together:.1f}x)"
        )
        waits = liveness(client, url, text(long, rng))
        typer.echo(
            f"/health during a request of {long:,} words: median {1000 * statistics.median(waits):.1f} ms, highest "
            f"{1000 * max(waits):.1f} ms of {len(waits)}"
        )
        memory = [process.memory_info().rss]
        times = load(client, clients, seconds, longest, rng, lambda: memory.append(process.memory_info().rss))
        grown = [(later - memory[0]) / 2**20 for later in memory[1:]]
        typer.echo(
            f"{clients} clients for {seconds:g} s, 40 to {longest:,} words: {len(times)} replies, each of its own request; "
            f"p50 {percentile(times, 50):.2f} s, p99 {percentile(times, 99):.2f} s; memory "
            f"{grown[0]:+.0f} MiB at half time, {grown[1]:+.0f} MiB at the end"
        )
    found = machine()
    typer.echo(f"{model} on {device}, {found['processor']}, {found['cores']} cores, torch {found['torch']}")


@contextmanager
def service(model: str, device: str) -> Iterator[tuple[str, psutil.Process]]:
    """A service on a free port, ready, and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "cprs_core.cli", "serve", "--model", model, "--device", device, "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "error"], cwd=Path(__file__).parents[1])
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise typer.Exit(1)
            try:
                if httpx.get(f"{url}/ready").is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def text(words: int, rng: random.Random) -> str:
    """So many words, a sentence among them with a number of its own."""
    count = max(1, words // len(FILLER.split()))
    parts = [FILLER] * count
    parts.insert(rng.randrange(count + 1), f"The blue coat is in locker {rng.getrandbits(40)}. ")
    return "".join(parts)


def checked(client: CprsClient, sent: str) -> None:
    """Compresses, and fails if the reply is that of another request."""
    result = client.compress(sent, QUERY, max_tokens=40)
    number = sent.split("locker ")[1].split(".")[0]
    own = all(sent[span.start : span.end] == span.text for span in result.spans)
    if not own or number not in result.text:
        raise CprsError(f"the reply is not that of its request: {result.text[:200]!r}")


def liveness(client: CprsClient, url: str, long: str) -> list[float]:
    """Seconds that /health took, again and again, while a long request ran."""
    waits: list[float] = []
    with ThreadPoolExecutor(1) as pool, httpx.Client() as http:
        running = pool.submit(checked, client, long)
        while not running.done():
            waits.append(timed(lambda: http.get(f"{url}/health").raise_for_status()))
            time.sleep(0.02)
        running.result()
    return waits


def load(
    client: CprsClient, clients: int, seconds: float, longest: int, rng: random.Random, look: Callable[[], None]
) -> list[float]:
    """Seconds of every request of many clients at once, most of them short; ``look`` is called at half time and at the
    end."""
    over, seeds = Event(), [rng.getrandbits(32) for _ in range(clients)]

    def one(seed: int) -> list[float]:
        mine, times = random.Random(seed), []
        while not over.is_set():
            sent = text(longest if mine.random() < 0.02 else mine.randint(40, 400), mine)
            times.append(timed(lambda sent=sent: checked(client, sent)))
        return times

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(one, seed) for seed in seeds]
        for _ in range(2):
            time.sleep(seconds / 2)
            look()
        over.set()
        return [wait for some in running for wait in some.result()]


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share / 100))]


if __name__ == "__main__":
    typer.run(main)
