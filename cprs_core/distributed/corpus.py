"""All blocks of a corpus through a pool of workers; a run that was stopped goes on.

The output folder:

settings.json  what was asked for
blocks.jsonl   a line for each block that is done, in the order of their ends
compressed/    the rows, a part for each block
bad/           rows that could not be compressed, and why
summary.json   the figures, at the end

A block is done once its parts are in their places and its line is written. Before that it may be done again: by another
worker when its own dies, or by a later run; its parts then take the places of those that were there.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import CprsError, InputError
from ..progress import Progress
from ..store import Store
from . import columns, parts
from .batches import BatchCompressor
from .cluster import Pool, check_installed, connected, plan
from .sources import open_source
from .worker import ATTEMPTS, BlockWorker

if TYPE_CHECKING:
    from .sources.block import Block

_CPU_BLOCK, _GPU_BLOCK = 2**17, 2**21  # bytes of text: half a minute to two minutes of a core, some seconds of a GPU

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        rows: all rows of the corpus, bad ones included. bad: those that could not be compressed.
        input_tokens, kept_tokens: of all rows that could, by the critic's tokenizer.
        blocks: of the corpus. done_before: those that an earlier run had done.
        workers: in the pool. seconds: of this run. start_seconds: of these, before the first block was begun.
        tokens_per_second: that this run read, after its start. busy: the share of that time that workers worked on blocks.
    """

    rows: int
    bad: int
    input_tokens: int
    kept_tokens: int
    blocks: int
    done_before: int
    workers: int
    seconds: float
    start_seconds: float
    tokens_per_second: float
    busy: float


def compress_corpus(
    inputs: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    batch: BatchCompressor,
    *,
    input_format: str | None = None,
    output_format: str | None = None,
    block_bytes: int | None = None,
    workers: int | None = None,
    gpus: float | None = None,
    address: str | None = None,
    resume: bool = False,
    progress: Progress = None,
) -> Summary:
    """Compresses the rows of files by many workers, each with a model of its own. See this module for the output folder.

    All columns of a row stay but the text; added are its file and number (``cprs_file``, ``cprs_row``, from 0) and the
    columns of :class:`BatchCompressor`. Every row is in ``compressed/`` or in ``bad/``, once. All machines of the cluster
    must see inputs and output under the same paths.

    Args:
        inputs: files, and folders to be searched for them; all of one format.
        batch: how rows are compressed; ``threads`` are those of each worker (1).
        input_format: ``"parquet"``, ``"jsonl"`` or ``"text"``; None = by name. output_format: ``"parquet"`` or ``"jsonl"``;
            None = as the input, JSON lines for text.
        block_bytes: text of a block; None = 128 KiB on CPUs, 2 MiB on GPUs.
        workers, gpus: how many, and how many GPUs for each, which may be a fraction; None = as many as there is room for,
            with a GPU each where there are any.
        address: of a Ray cluster; None = that of this process, else RAY_ADDRESS, else one is started for the run.
        resume: go on with the run in the output folder; other settings are refused.
        progress: True for a bar on standard error, or a function called with (rows done, rows in all).

    Raises:
        InputError: what is asked for does not fit the files or the output folder. ModelLoadError, DeviceError: the model
            cannot be loaded, or the cluster has too little. CprsError: none of the rows could be compressed.
    """
    began = time.perf_counter()
    check_installed()
    out = Path(out).resolve()
    format, source, files = open_source(inputs, batch, input_format)
    if inside := next((path for path in map(Path, inputs) if out.is_relative_to(path.resolve())), None):
        raise InputError(f"the output {out} lies in the input {inside}; name a folder elsewhere")
    settings = _settings(batch, files, format, output_format, block_bytes)
    store = Store[dict[str, Any]](out, settings, rows="blocks.jsonl", results="summary.json", resume=resume)
    blocks = list(source.cut(files, settings["block_bytes"]))
    before = {tally["block"] for tally in store.rows}
    todo = [block for block in blocks if block.number not in before]
    pool, start = Pool(0, 0, 0), 0.0
    if todo:
        with _shown(progress, blocks, before) as report, connected(address) as resources:
            pool = plan(resources, batch.device, workers=workers, threads=batch.threads, gpus=gpus)
            pool = replace(pool, workers=min(pool.workers, len(todo)))
            store.begin()
            _tidy(out)
            how = {"batch": replace(batch, threads=pool.cpus), "source": format, "format": settings["output_format"]}
            for tally in _tallies(todo, {**how, "out": str(out)}, pool):
                start = start or max(0.0, time.perf_counter() - began - tally["seconds"])
                store.add(tally)
                report(tally)
            _tidy(out)
    summary = _summary(store.rows, len(blocks), before, pool.workers, time.perf_counter() - began, start)
    if todo or not (out / "summary.json").exists():
        store.finish({"settings": settings, **asdict(summary)})
    if summary.rows and summary.rows == summary.bad:
        raise CprsError(f"none of the {summary.rows:,} rows could be compressed; the first: {_first_reason(out)}")
    return summary


def _settings(
    batch: BatchCompressor, files: Sequence[Path], format: str, output_format: str | None, block_bytes: int | None
) -> dict[str, Any]:
    """What the output depends on, JSON-ready: a run goes on only with the same."""
    from ..files import check_name

    written = output_format or ("parquet" if format == "parquet" else "jsonl")
    if written not in parts.FORMATS:
        raise InputError(f"unknown output format {written!r}; use one of {', '.join(parts.FORMATS)}")
    if batch.load is None:
        check_name(batch.model)  # what else may be wrong with it, a worker will say
    if block_bytes is None:
        block_bytes = _GPU_BLOCK if _on_gpu(batch.device) else _CPU_BLOCK
    if block_bytes < 1:
        raise InputError(f"a block must have at least one byte, got {block_bytes}")
    asked = {"input_format": format, "output_format": written, "block_bytes": block_bytes}
    return {"cprs": __version__, "inputs": _fingerprint(files), **asked, **batch.settings()}


def _tallies(blocks: Sequence[Block], work: dict[str, Any], pool: Pool) -> Iterator[dict[str, Any]]:
    """What became of each block, as they are done."""
    import ray
    import ray.data

    rows = ray.data.from_items([asdict(block) for block in blocks], override_num_blocks=len(blocks))
    tallies = rows.map_batches(
        BlockWorker,
        fn_constructor_kwargs=work,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=pool.workers),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
    )
    tallies.context.enable_progress_bars = False
    try:
        for table in tallies.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for tally in table.to_pylist():  # type: ignore[union-attr]
                yield checked(tally)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise CprsError(
            f"a worker failed: {reason}. What is done is kept; go on with --resume, or see Ray's logs"
        ) from error


def checked(tally: dict[str, Any]) -> dict[str, Any]:
    """A tally, unless the worker could not go on: then its error is raised."""
    if (error := tally.pop("error")) is not None:
        raise pickle.loads(error)
    return tally


@contextmanager
def _shown(progress: Progress, blocks: Sequence[Block], before: Collection[int]) -> Iterator[Report]:
    """Shows how many rows are done, as tallies come."""
    total = sum(block.rows for block in blocks)
    done = sum(block.rows for block in blocks if block.number in before)
    rows = {block.number: block.rows for block in blocks}
    if not progress or callable(progress):

        def tell(tally: dict[str, Any]) -> None:
            nonlocal done
            done += rows[tally["block"]]
            if callable(progress):
                progress(done, total)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    times = TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn()
    parts_of_bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"), *times)
    with Bar(*parts_of_bar, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting workers", total=total, completed=done)
        yield lambda tally: bar.update(task, advance=rows[tally["block"]], description="compressing")


def _summary(
    tallies: Sequence[dict[str, Any]], blocks: int, before: Collection[int], workers: int, seconds: float, start: float
) -> Summary:
    names = ("rows", "bad", "input_tokens", "kept_tokens")
    new = [tally for tally in tallies if tally["block"] not in before]
    working = seconds - start
    return Summary(
        **{name: sum(tally[name] for tally in tallies) for name in names},
        blocks=blocks,
        done_before=len(before),
        workers=workers,
        seconds=seconds,
        start_seconds=start,
        tokens_per_second=sum(tally["input_tokens"] for tally in new) / working,
        busy=sum(tally["seconds"] for tally in new) / working / max(1, workers),
    )


def _on_gpu(device: str | None) -> bool:
    if device is not None:
        return "cuda" in device
    import torch

    return torch.cuda.is_available()


def _fingerprint(files: Sequence[Path]) -> dict[str, Any]:
    """Tells the files from what they were when the run was started."""
    digest, size = hashlib.sha256(), 0
    for file in files:
        status = file.stat()
        digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        size += status.st_size
    return {"files": len(files), "bytes": size, "digest": digest.hexdigest()[:16]}


def _tidy(out: Path) -> None:
    """Takes away what workers that died have left."""
    shutil.rmtree(out / ATTEMPTS, ignore_errors=True)
    for folder in (parts.COMPRESSED, parts.BAD):
        for file in (out / folder).glob(".part-*"):
            file.unlink(missing_ok=True)


def _first_reason(out: Path) -> str:
    first = min((out / parts.BAD).iterdir())
    with first.open(encoding="utf-8") as lines:
        return str(json.loads(next(lines))[columns.ERROR])
