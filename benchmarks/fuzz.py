"""Random texts, options and requests, as many as there is time for: ``python benchmarks/fuzz.py --help``.

What must hold for all of them is in ``fuzz_texts.py`` and ``fuzz_requests.py``. A failure is printed with the seed that
draws its case: ``KINDS[kind][0](random.Random(seed))``.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import cycle
from random import Random
from typing import Annotated, Any

import typer
from fuzz_requests import request_case, request_holds
from fuzz_texts import text_case, text_holds
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cprs_core.machine import machine
from cprs_core.terminal import errors

KINDS: dict[str, tuple[Callable[[Random], Any], Callable[[Any], None]]] = {
    "texts": (text_case, text_holds),
    "requests": (request_case, request_holds),
}
"""How cases of each kind are drawn, and what must hold for them."""
PART = 500  # cases that a process draws together


def main(
    cases: Annotated[int, typer.Option(min=2, help="Half of them texts, half of them requests.")] = 10_000,
    seed: Annotated[int, typer.Option(help="The same seed draws the same cases.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Fuzzes the compressor and the service. Exit code 1 if anything failed."""
    began, failures = time.perf_counter(), list[str]()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn) as pool, Progress(*columns, console=errors) as progress:
        task = progress.add_task("cases", total=cases)
        running = {pool.submit(fuzz, *one): one[1] for one in parts(cases, seed)}
        for part in as_completed(running):
            failures += part.result()
            progress.update(task, advance=running[part], description=f"cases, {len(failures)} failed")
    seconds = time.perf_counter() - began
    for failure in failures[:20]:
        typer.echo(f"\n{failure}")
    typer.echo(f"{cases:,} cases, {len(failures):,} failures, {cases / seconds:,.0f} cases/s, {seconds:,.0f} s")
    found = machine()
    typer.echo(f"{found['processor']}, {found['cores']} cores, {workers} processes, seed {seed}")
    raise typer.Exit(1 if failures else 0)


def parts(cases: int, seed: int) -> Iterator[tuple[str, int, int]]:
    """What to draw, how many of it, and from which seed on."""
    kinds = cycle(KINDS)
    size = min(PART, cases // len(KINDS))
    for start in range(0, cases, size):
        yield next(kinds), min(size, cases - start), seed * 10**9 + start


def fuzz(kind: str, number: int, start: int) -> list[str]:
    """Draws and tries cases. Gives what failed."""
    draw, holds = KINDS[kind]
    failures = []
    for seed in range(start, start + number):
        case = draw(Random(seed))
        try:
            holds(case)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} in {where.name}, {where.filename}:{where.lineno}: {str(error)[:500]}"
            failures.append(f"{kind}, random.Random({seed}): {what}\n{repr(case)[:2000]}")
    return failures


if __name__ == "__main__":
    typer.run(main)
