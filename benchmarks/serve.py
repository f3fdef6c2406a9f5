"""How a service holds up under many clients: ``python benchmarks/serve.py --help``.

Starts ``cprs serve`` as a process of its own and asks it over HTTP. Every reply is checked against its own request: the
spans must lie in the text that was sent, all sentences of which name a number that only this text holds.
"""

import json
import random
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Annotated

import httpx
import psutil
import typer

from cprs_core import Compression, CprsClient, CprsError, wire
from cprs_core.machine import machine

TOKENS = 60  # of a reply at most
QUERY = "Which locker holds the blue coat?"
FILLER = "The ferry {0} was late again. Nobody on pier {0} knew why. It had rained on {0} since dawn. "
SHORT, MEDIUM = 40, 400  # words
ROUNDS = 3  # of the short requests
LOOKS = 10  # times that memory is looked at during the mixed load
HERE = Path(__file__).parent


def main(
    model: Annotated[str, typer.Option(help="Model name or folder.")] = "cprs-small",
    device: Annotated[str, typer.Option(help="cpu, cuda ...")] = "cpu",
    window_size: Annotated[int | None, typer.Option(help="Tokens of a window.", show_default="the model's")] = None,
    requests: Annotated[int, typer.Option(min=2, help="Short requests, one at a time and all at once.")] = 64,
    processes: Annotated[int, typer.Option(min=1, help="Which share them, when all are sent at once.")] = 8,
    long: Annotated[int, typer.Option(min=100, help="Words of the request during which /health is asked.")] = 60_000,
    clients: Annotated[int, typer.Option(min=1, help="Clients of the mixed load.")] = 64,
    seconds: Annotated[float, typer.Option(min=1, help="How long they go on.")] = 60,
    longest: Annotated[int, typer.Option(min=100, help="Words of its longest texts; the shortest have 40.")] = 20_000,
    long_clients: Annotated[int, typer.Option(min=0, help="Clients that send the longest texts only.")] = 2,
    kill_every: Annotated[float, typer.Option(min=0.1, help="Seconds after which a client is killed.")] = 5,
    seed: Annotated[int, typer.Option(help="Draws lengths and numbers.")] = 0,
) -> None:
    """Throughput of short requests, liveness during a long one, and a mixed load."""
    rng = random.Random(seed)
    with service(model, device, window_size) as (url, process), CprsClient(url) as client:
        client.compress(FILLER, QUERY)  # warm-up
        texts = [text(SHORT, rng) for _ in range(requests)]
        tokens = client.count_tokens(texts[0])
        shares = [texts[i::processes] for i in range(min(processes, requests))]
        alone = statistics.median(asked(url, [texts], at_once=False) for _ in range(ROUNDS))
        together = statistics.median(asked(url, shares, at_once=True) for _ in range(ROUNDS))
        typer.echo(
            f"{requests} requests of {tokens} tokens: one at a time {requests / alone:.1f}/s, all at once from "
            f"{len(shares)} processes {requests / together:.1f}/s ({alone / together:.1f}x; medians of {ROUNDS})"
        )
        sent = text(long, rng)
        tokens = client.count_tokens(sent)
        with pulse(url) as waits:
            took = timed(lambda: checked(client, sent))
        typer.echo(f"a request of {tokens:,} tokens took {took:.1f} s; {beats(waits)} meanwhile")
        tokens = client.count_tokens(text(longest, rng))
        memory = [process.memory_info().rss / 2**20]
        with pulse(url) as waits:
            times, killed = load(
                client, clients, long_clients, seconds, longest, kill_every, rng,
                lambda: memory.append(process.memory_info().rss / 2**20),
            )  # fmt: skip
        number = sum(map(len, times.values()))
        typer.echo(
            f"{clients} clients for {seconds:g} s, {long_clients} of them with texts of {tokens:,} tokens: {number:,} "
            f"replies, each of its own request; {killed} more clients were killed in the middle; {beats(waits)}"
        )
        for words, some in sorted(times.items()):
            p50, p99 = percentile(some, 50), percentile(some, 99)
            typer.echo(f"  {words:,} words: {len(some):,} replies, p50 {p50:.2f} s, p99 {p99:.2f} s")
        typer.echo(f"memory of the service in MiB, from before to the end: {' '.join(f'{one:.0f}' for one in memory)}")
        typer.echo(left(url))
    found = machine()
    typer.echo(f"{model} on {device}, {found['processor']}, {found['cores']} cores, torch {found['torch']}")


@contextmanager
def service(model: str, device: str, window_size: int | None) -> Iterator[tuple[str, psutil.Process]]:
    """A service on a free port, ready, and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "cprs_core.cli", "serve", "--model", model, "--device", device, "--port", str(port)]
    command += ["--log-level", "error", *(["--window-size", str(window_size)] if window_size else [])]
    process = subprocess.Popen(command, cwd=HERE.parent)
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
        process.wait(60)


def text(words: int, rng: random.Random) -> str:
    """So many words, and a number of its own in every sentence."""
    number = rng.getrandbits(40)
    filler = FILLER.format(number)
    count = max(1, words // len(filler.split()))
    parts = [filler] * count
    parts.insert(rng.randrange(count + 1), f"The blue coat is in locker {number}. ")
    return "".join(parts)


def checked(client: CprsClient, sent: str) -> None:
    """Compresses, and fails if the reply is that of another request, or of none."""
    check(client.compress(sent, QUERY, max_tokens=TOKENS), sent)


def check(result: Compression, sent: str) -> None:
    number = sent.split("locker ")[1].split(".")[0]
    own = all(sent[span.start : span.end] == span.text for span in result.spans)
    if not own or number not in result.text:
        raise CprsError(f"the reply is not that of its request: {result.text[:200]!r}")


def asked(url: str, parts: list[list[str]], at_once: bool) -> float:
    """The seconds until all texts have been answered, each part of them sent by a process of its own."""
    asking = [other("ask", url, len(part) if at_once else 1) for part in parts]
    for one, part in zip(asking, parts, strict=True):
        for sent in part:
            one.stdin.write(json.dumps({"text": sent, "query": QUERY, "max_tokens": TOKENS}).encode() + b"\n")
        one.stdin.write(b"\n")
        one.stdin.flush()
        one.stdout.readline()  # it is connected
    began = time.perf_counter()
    for one in asking:
        one.stdin.write(b"\n")
        one.stdin.flush()
    replies = [[one.stdout.readline() for _ in part] for one, part in zip(asking, parts, strict=True)]
    seconds = time.perf_counter() - began
    for one in asking:
        one.communicate()
    for part, lines in zip(parts, replies, strict=True):
        for sent, line in zip(part, lines, strict=True):
            check(wire.results(line, [sent])[0], sent)
    return seconds


@contextmanager
def pulse(url: str) -> Iterator[list[float]]:
    """The list gets the seconds that /health takes in the meantime, asked by another process."""
    waits: list[float] = []
    asking = other("pulse", url)
    try:
        yield waits
    finally:
        found, _ = asking.communicate(b"\n")
        waits += map(float, found.split())
        if asking.returncode:
            raise CprsError("/health did not answer")


def other(what: str, url: str, *numbers: int) -> subprocess.Popen[bytes]:
    """One of ``clients.py``."""
    host, port = url.removeprefix("http://").split(":")
    command = [sys.executable, str(HERE / "clients.py"), what, host, port, *map(str, numbers)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def beats(waits: list[float]) -> str:
    median, highest = 1000 * statistics.median(waits), 1000 * max(waits)
    over = sum(wait > 0.05 for wait in waits)
    return (
        f"/health: median {median:.1f} ms, 99 % {1000 * percentile(waits, 99):.1f}, highest {highest:.1f}, "
        f"{over} of {len(waits)} over 50"
    )


def load(
    client: CprsClient,
    clients: int,
    long_clients: int,
    seconds: float,
    longest: int,
    kill_every: float,
    rng: random.Random,
    look: Callable[[], None],
) -> tuple[dict[int, list[float]], int]:
    """Many clients at once, and some that are killed. Gives the seconds of every request by the words that it had, and how
    many were killed. ``look`` is called again and again, and at the end."""
    over, seeds = Event(), [rng.getrandbits(32) for _ in range(clients)]
    times: dict[int, list[float]] = defaultdict(list)

    def one(number: int) -> None:
        mine = random.Random(seeds[number])
        while not over.is_set():
            words = longest if number < long_clients else mine.choice((SHORT, SHORT, SHORT, MEDIUM))
            sent = text(words, mine)
            times[words].append(timed(lambda sent=sent: checked(client, sent)))

    def kill() -> int:
        mine, killed = random.Random(rng.getrandbits(32)), 0
        while not over.wait(kill_every):
            hang(client.url, text(longest, mine), mine.uniform(0, min(2.0, kill_every)))
            killed += 1
        return killed

    with ThreadPoolExecutor(clients + 1) as pool:
        killing = pool.submit(kill)
        running = [pool.submit(one, number) for number in range(clients)]
        for _ in range(LOOKS):
            time.sleep(seconds / LOOKS)
            look()
        over.set()
        for some in running:
            some.result()
    look()
    return times, killing.result()


def hang(url: str, sent: str, seconds: float) -> None:
    """A client with a long request that is killed after so many seconds: while it sends, or while it waits."""
    victim = other("hang", url)
    assert victim.stdin is not None and victim.stdout is not None
    victim.stdin.write(json.dumps({"text": sent, "query": QUERY}).encode())
    victim.stdin.close()
    victim.stdout.readline()  # it is connected
    time.sleep(seconds)
    if victim.poll() is not None:
        raise CprsError("the client that was to be killed has ended by itself")
    victim.kill()
    victim.wait()


def left(url: str) -> str:
    """What the service still has to do when nobody waits any more, which should be nothing."""
    for _ in range(100):
        page = httpx.get(f"{url}/metrics").text
        figures = dict(line.rsplit(" ", 1) for line in page.splitlines() if line[0] != "#")
        work = {name: float(figures[name]) for name in ("cprs_in_flight", "cprs_queue_windows")}
        if not any(work.values()):
            break
        time.sleep(0.1)
    else:
        raise CprsError(f"the service still works for nobody: {work}")
    answers = {name.split('status="')[1][:3]: int(float(number)) for name, number in figures.items()
               if name.startswith('cprs_requests_total{route="/v1/compress"')}  # fmt: skip
    return f"afterwards nothing is left to do; answers by status (499 = hung up): {answers}"


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share / 100))]


if __name__ == "__main__":
    typer.run(main)
