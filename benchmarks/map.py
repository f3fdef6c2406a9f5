"""How ``cprs map`` grows with workers: ``python benchmarks/map.py --help``.

``scale`` measures one worker against two on this machine; ``overhead`` what a run costs besides the model, with a compressor
that answers at once; ``model`` derives from such figures how long a large corpus takes on many workers, and what bounds it.
"""

import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cprs_core import Compression
from cprs_core.distributed import BatchCompressor, Summary, compress_corpus
from cprs_core.distributed.sources import open_source
from cprs_core.machine import machine
from cprs_core.terminal import page

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__.partition("\n\n")[2])
QUERY = "Which locker holds the blue coat?"
FILLER = "the ferry was late again and nobody on the pier knew why because it had rained since dawn".split()


@app.command()
def scale(
    model: Annotated[str, typer.Option(help="Model name or folder.")] = "cprs-small",
    device: Annotated[str, typer.Option(help="Of all workers.")] = "cpu",
    documents: Annotated[int, typer.Option(min=2, help="Rows of the corpus.")] = 1000,
    words: Annotated[int, typer.Option(min=10, help="Words of a row.")] = 60,
    workers: Annotated[int, typer.Option(min=2, help="To compare with one.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Both sides run so often, by turns.")] = 3,
    block_kb: Annotated[float, typer.Option(help="KiB of a block.")] = 16,
) -> None:
    """One worker of one core against several, over the same rows; the start of workers is reported apart.

    Where other programs want the cores too, wall time says little. So there is a second figure: how much faster several are
    by the time that cores worked for a token, and by the share of the time that workers had a block to work on.
    """
    sides: dict[int, list[Side]] = {1: [], workers: []}
    with corpus(documents, words) as (file, out), cluster(workers) as started:
        how = BatchCompressor(query=QUERY, model=model, device=device, ratio=0.2)
        for turn in range(rounds):
            for count, runs in sides.items():
                folder = out / f"{turn}-{count}"
                done = compress_corpus([file], folder, how, workers=count, block_bytes=int(block_kb * 1024))
                runs.append(Side.of(done, _sum(folder, "cpu_seconds")))
                typer.echo(
                    f"{count} workers: {done.rows:,} rows, {done.input_tokens:,} tokens in {done.blocks} blocks, after "
                    f"{done.start_seconds:.1f} s to start; {runs[-1]}, load {load():.1f}"
                )
    one, many = (Side(*map(statistics.median, zip(*map(astuple, runs), strict=True))) for runs in sides.values())
    free = workers * many.core_rate * many.busy / (one.core_rate * one.busy)
    typer.echo(
        f"{workers} workers are {many.rate / one.rate:.2f} times as fast as one by the clock, "
        f"{free:.2f} times by the cores' time (medians of {rounds})"
    )
    typer.echo(f"start: Ray {started():.1f} s, workers with their models {(one.start + many.start) / 2:.1f} s")
    where(model)


@dataclass(frozen=True)
class Side:
    """Tokens/s; tokens a second that a core worked; the share of the time that workers had a block; seconds to start."""

    rate: float
    core_rate: float
    busy: float
    start: float

    @classmethod
    def of(cls, done: Summary, cpu_seconds: float) -> "Side":
        return cls(done.tokens_per_second, done.input_tokens / cpu_seconds, done.busy, done.start_seconds)

    def __str__(self) -> str:
        return f"{self.rate:,.0f} tokens/s, {self.core_rate:,.0f} a core's second, workers busy {self.busy:.0%}"


@dataclass(frozen=True)
class Costs:
    """What a run costs besides the model, in seconds.

    Args:
        start: until the first block is begun, Ray's own start included. byte: to cut a file into blocks. listed: a block to
            be handed to Ray. driver: a block to be given out, logged and shown. row: to be read, made a row and written.
            block: a block's files to be opened, written and put in their places.
    """

    start: float
    byte: float
    listed: float
    driver: float
    row: float
    block: float


# What overhead printed on two shared cores of an Intel Xeon, Ray 2.60, at a load of 11.
MEASURED = Costs(start=14, byte=1.1e-9, listed=1.5e-3, driver=8.3e-3, row=4.5e-5, block=2.8e-3)


@app.command()
def overhead(
    blocks: Annotated[int, typer.Option(min=2, help="Blocks of one row.")] = 1000,
    rows: Annotated[int, typer.Option(min=10, help="Rows in ten blocks.")] = 100_000,
    megabytes: Annotated[int, typer.Option(min=1, help="Of a file to cut.")] = 200,
) -> None:
    """What a run costs besides the model: with a compressor that answers at once."""
    how = BatchCompressor(query=QUERY, load=Instant, device=None)
    with cluster(2) as started:
        with corpus(blocks, 40) as (file, out):
            single = compress_corpus([file], out / "a", how, workers=2, block_bytes=1)
            listed = _timed(lambda: _listed(blocks)) / blocks
            each = _sum(out / "a", "seconds") / blocks
        with corpus(rows, 40) as (file, out):
            many = compress_corpus([file], out / "b", how, workers=2, block_bytes=file.stat().st_size // 10 + 1)
            row = _sum(out / "b", "seconds") / rows
    with corpus(megabytes * 5000, 40) as (file, _):
        _, source, files = open_source([file], how)
        cut = _timed(lambda: list(source.cut(files, 2**21))) / file.stat().st_size
    costs = Costs(
        start=started() + many.start_seconds,
        byte=cut,
        listed=listed,
        driver=(single.seconds - single.start_seconds) / blocks,
        row=row,
        block=max(0.0, each - row),
    )
    typer.echo(f"{costs}, load {load():.1f}")
    where("no model")


@app.command()
def model(
    worker_tokens: Annotated[float, typer.Option(help="Tokens/s of one worker.")] = 35_218,
    tokens: Annotated[float, typer.Option(help="Tokens of the corpus.")] = 1e9,
    row_tokens: Annotated[float, typer.Option(help="Tokens of a row.")] = 300,
    token_bytes: Annotated[float, typer.Option(help="Bytes of a token.")] = 4.3,
    block_mb: Annotated[float, typer.Option(help="MiB of a block.")] = 2,
    load_seconds: Annotated[float, typer.Option(help="Seconds to load the model, beyond a small one's.")] = 60,
) -> None:
    """How long a large corpus takes on many workers, from the measured costs, and what bounds it."""
    table = Table("workers", "hours", "times as fast", "of ideal", "blocks each", "driver busy", "bound by")
    alone = None
    for workers in (2**power for power in range(13)):
        found = predict(MEASURED, workers, worker_tokens, tokens, row_tokens, token_bytes, block_mb * 2**20, load_seconds)
        alone = alone or found.seconds
        gain = alone / found.seconds
        table.add_row(
            f"{workers:,}",
            f"{found.seconds / 3600:.3f}",
            f"{gain:,.1f}",
            f"{gain / workers:.0%}",
            f"{found.blocks / workers:,.1f}",
            f"{found.driver / found.seconds:.0%}",
            found.bound,
        )
    page().print(table)
    given = 1 / MEASURED.driver
    block = tokens / found.blocks / worker_tokens
    feed = worker_tokens * token_bytes
    typer.echo(
        f"The driver gives out {given:,.0f} blocks/s, and a worker needs one in {block:.1f} s: enough for "
        f"{given * block:,.0f} workers.\nA worker reads {feed / 1000:,.0f} kB/s from the files; "
        f"{given * block * feed / 1e6:,.0f} MB/s at that number. No text goes through Ray's object store."
    )


@dataclass(frozen=True)
class Prediction:
    """Seconds in all, of the driver's work among them, the number of blocks, and what takes longest."""

    seconds: float
    driver: float
    blocks: int
    bound: str


def predict(
    costs: Costs,
    workers: int,
    worker_tokens: float,
    tokens: float,
    row_tokens: float,
    token_bytes: float,
    block_bytes: float,
    load_seconds: float,
) -> Prediction:
    """A run of equal blocks: started, cut and listed by the driver alone; then workers take block after block, as fast as
    the driver gives them out."""
    blocks = ceil(tokens * token_bytes / block_bytes)
    inside = tokens / blocks
    work = inside / worker_tokens + inside / row_tokens * costs.row + costs.block
    start = costs.start + load_seconds + tokens * token_bytes * costs.byte + blocks * costs.listed
    computing, giving = ceil(blocks / workers) * work, blocks * costs.driver
    parts = {"start": start, "workers": computing, "driver": giving}
    if computing > giving and ceil(blocks / workers) > 1.25 * blocks / workers:
        parts["too few blocks"] = parts.pop("workers")
    return Prediction(
        start + max(computing, giving), start - load_seconds + giving, blocks, max(parts, key=parts.__getitem__)
    )


class Instant:
    """A compressor that keeps nothing, at once."""

    def compress_batch(self, pairs: list[tuple[str, str]], instruction: Any, **_: Any) -> list[Compression]:
        return [Compression(text, (), len(text) // 4, 0, query, instruction.prompt, "instant", 0.0) for text, query in pairs]


@contextmanager
def corpus(documents: int, words: int) -> Iterator[tuple[Path, Path]]:
    """A file of JSON lines with that many rows, and a folder for outputs."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "corpus.jsonl"
        with file.open("w", encoding="utf-8") as lines:
            for number in range(documents):
                said = " ".join(rng.choices(FILLER, k=words - 9))
                text = f"{said}. The blue coat is in locker number {number}."
                lines.write(json.dumps({"id": number, "text": text}) + "\n")
        yield file, Path(folder)


@contextmanager
def cluster(cores: int) -> Iterator[Any]:
    """A Ray cluster of so many cores, unless there is one; gives a function that tells the seconds it took to start."""
    import ray

    began = time.perf_counter()
    mine = not ray.is_initialized()
    if mine:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        store = 256 * 2**20
        ray.init("local", num_cpus=cores, include_dashboard=False, object_store_memory=store, log_to_driver=False)
    seconds = time.perf_counter() - began
    yield lambda: seconds
    if mine:
        ray.shutdown()


def _listed(blocks: int) -> None:
    import ray.data

    row = {"number": 1, "files": ["/a/path/as/long/as/most/of/them.jsonl"], "row": 1, "rows": 1, "start": 1, "stop": 1}
    ray.data.from_items([row] * blocks, override_num_blocks=blocks)


def _sum(out: Path, name: str) -> float:
    """A figure of all blocks of a run, summed up."""
    return float(sum(json.loads(line)[name] for line in (out / "blocks.jsonl").read_text().splitlines()))


def _timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def load() -> float:
    """Processes that wait for a core, averaged over a minute."""
    return os.getloadavg()[0]


def where(model: str) -> None:
    import ray

    found = machine()
    typer.echo(f"{model}, {found['processor']}, {found['cores']} cores, torch {found['torch']}, ray {ray.__version__}")


if __name__ == "__main__":
    app()
