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

import json
import pickle
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CprsError, InputError
from ..models import BUNDLED
from ..progress import Progress
from ..store import Store
from . import columns, parts
from .batches import BatchCompressor
from .cluster import Pool, check_installed, connected, plan, warn_if_busy
from .report import Summary, Tally, shown, summarise
from .settings import settings_of
from .sources import open_source
from .worker import ATTEMPTS, BlockWorker

if TYPE_CHECKING:
    from .sources.block import Block


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
    batch = _everywhere(batch)
    format, source, files = open_source(inputs, batch, input_format)
    if inside := next((path for path in map(Path, inputs) if out.is_relative_to(path.resolve())), None):
        raise InputError(f"the output {out} lies in the input {inside}; name a folder elsewhere")
    settings = settings_of(batch, files, format, output_format, block_bytes)
    store = Store[Tally](out, settings, rows="blocks.jsonl", results="summary.json", resume=resume)
    blocks = list(source.cut(files, settings["block_bytes"]))
    before = {tally["block"] for tally in store.rows}
    todo = [block for block in blocks if block.number not in before]
    pool, start, ended = Pool(0, 0, 0), 0.0, began
    if todo:
        with shown(progress, blocks, before) as report, connected(address) as resources:
            pool = plan(resources, batch.device, workers=workers, threads=batch.threads, gpus=gpus)
            pool = replace(pool, workers=min(pool.workers, len(todo)))
            store.begin()
            _tidy(out)
            how = {"batch": replace(batch, threads=pool.cpus), "source": format, "format": settings["output_format"]}
            for tally in _tallies(todo, {**how, "out": str(out)}, pool):
                start = start or max(0.0, time.perf_counter() - began - tally["seconds"])
                store.add(tally)
                report(tally)
                ended = time.perf_counter()
            _tidy(out)
    summary = summarise(store.rows, len(blocks), before, pool.workers, ended - began, start)
    if todo or not (out / "summary.json").exists():
        store.finish({"settings": settings, **asdict(summary)})
    if summary.rows and summary.rows == summary.bad:
        raise CprsError(f"none of the {summary.rows:,} rows could be compressed; the first: {_first_reason(out)}")
    return summary


def _everywhere(batch: BatchCompressor) -> BatchCompressor:
    """The same, but a folder of a model is named by its full path, for workers are in other folders.

    Raises:
        ModelLoadError: there is no such folder.
    """
    from ..files import check_name

    if batch.load is None:
        check_name(batch.model)  # what else may be wrong with it, a worker will say
    if batch.model in BUNDLED or not Path(batch.model).is_dir():
        return batch
    return replace(batch, model=str(Path(batch.model).resolve()))


def _tallies(blocks: Sequence[Block], work: dict[str, Any], pool: Pool) -> Iterator[Tally]:
    """What became of each block, as they are done."""
    import ray
    import ray.data

    warn_if_busy(pool)
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


def checked(tally: Tally) -> Tally:
    """A tally, unless the worker could not go on: then its error is raised."""
    if (error := tally.pop("error")) is not None:
        raise pickle.loads(error)
    return tally


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
