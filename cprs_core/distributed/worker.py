"""One block after the other: read, compressed, written, counted. Runs in the actors of the pool."""

from __future__ import annotations

import pickle
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CprsError
from . import columns, parts
from .sources import SOURCES
from .sources.block import Bad, Block

if TYPE_CHECKING:
    import pyarrow as pa

    from .batches import BatchCompressor

ATTEMPTS = ".attempts"  # folder
_MOST = 3


class BlockWorker:
    """Turns blocks of a corpus, as rows of a table, into what became of them.

    A tally has the block's number; its rows, those that are bad, and tokens; the seconds that it took, and those that cores
    worked for it; and, if nothing more can be done, the error as pickled bytes (Ray Data does not carry exceptions whole).
    """

    def __init__(self, batch: BatchCompressor, source: str, out: str, format: str) -> None:
        self._batch, self._source = batch, SOURCES[source](batch)
        self._out, self._format = Path(out), format

    def __call__(self, blocks: pa.Table) -> pa.Table:
        import pyarrow as pa

        return pa.Table.from_pylist([self._tally(Block(**row)) for row in blocks.to_pylist()], _schema())

    def _tally(self, block: Block) -> dict[str, Any]:
        try:
            self._begin(block)
            self._batch.compressor  # noqa: B018 - loading it is not the block's time
            began, cpu = time.perf_counter(), time.process_time()
            tally = self._done(block)
            self._end(block)
            took = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
            return {"block": block.number, **tally, **took}
        except CprsError as error:
            return {"block": block.number, "error": pickle.dumps(error)}

    def _done(self, block: Block) -> dict[str, Any]:
        import pyarrow.compute as pc

        table, bad = self._source.read(block)
        rows = len(table) + len(bad)
        table = self._batch(table)
        good = pc.is_null(table[columns.ERROR])
        refused = table.filter(pc.invert(good)).select([*columns.IDENTITY, columns.ERROR])
        kept = table.filter(good).drop_columns([self._batch.text_column, columns.ERROR])
        bad += [Bad(*row.values()) for row in refused.to_pylist()]
        bad += parts.write_rows(self._out, block.number, kept, self._format)
        parts.write_bad(self._out, block.number, bad)
        read, left = (pc.sum(kept[name]).as_py() or 0 for name in (columns.INPUT_TOKENS, columns.KEPT_TOKENS))
        return {"rows": rows, "bad": len(bad), "input_tokens": read, "kept_tokens": left}

    def _begin(self, block: Block) -> None:
        """Notes an attempt. Ray tries a block again whenever its process dies, and would so for ever."""
        if len(list(self._attempts(block))) >= _MOST:
            raise CprsError(
                f"{block} ended the process {_MOST} times, perhaps for want of memory; give workers more of it, take "
                "smaller blocks in another output folder, or leave these rows out"
            )
        mark = self._out / ATTEMPTS / f"{block.number}-{uuid.uuid4().hex}"
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()

    def _end(self, block: Block) -> None:
        for mark in self._attempts(block):
            mark.unlink(missing_ok=True)

    def _attempts(self, block: Block) -> Iterator[Path]:
        return (self._out / ATTEMPTS).glob(f"{block.number}-*")


def _schema() -> pa.Schema:
    import pyarrow as pa

    numbers = ("block", "rows", "bad", "input_tokens", "kept_tokens")
    times = dict.fromkeys(("seconds", "cpu_seconds"), pa.float64())
    return pa.schema({**dict.fromkeys(numbers, pa.int64()), **times, "error": pa.binary()})
