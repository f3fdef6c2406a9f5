"""Parquet: blocks are runs of rows of a row group; what is read is held in memory a few rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from .. import columns
from ..batches import BatchCompressor
from ..tables import check_columns
from .block import Bad, Block, Source, unreadable

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 1024  # rows that are decoded at once
_BUFFER = 2**20  # bytes of a column that are read at once


class Parquet(Source):
    endings = (".parquet", ".pq")

    def __init__(self, batch: BatchCompressor) -> None:
        super().__init__(batch)
        self._cursor: _Cursor | None = None

    def cut(self, files: Sequence[Path], size: int) -> Iterator[Block]:
        """Row groups in equal runs of rows."""
        import pyarrow.parquet as pq

        numbers = count()
        others: pa.Schema | None = None
        for file in files:
            try:
                found = pq.read_metadata(file)
                schema = found.schema.to_arrow_schema()
            except (OSError, ValueError) as error:  # Arrow's own errors are ValueErrors
                raise unreadable(file, error) from error
            self._check(file, schema)
            rest = schema.remove_metadata().remove(schema.get_field_index(self.batch.text_column))
            others = rest if others is None else others
            if rest != others:
                raise InputError(f"{file} has other columns than {files[0]}; compress them in runs of their own")
            first = 0
            for group in range(found.num_row_groups):
                rows = found.row_group(group).num_rows
                run = math.ceil(rows / max(1, math.ceil(self._bytes(found.row_group(group)) / size)))
                for start in range(0, rows, run or 1):
                    stop = min(rows, start + run)
                    yield Block(next(numbers), [str(file)], first + start, stop - start, start, stop, group)
                first += rows

    def read(self, block: Block) -> tuple[pa.Table, list[Bad]]:
        import pyarrow as pa

        (file,) = block.files
        if self._cursor is None or not self._cursor.before(file, block.group, block.start):
            self._cursor = _Cursor(file, block.group)
        try:
            table = self._cursor.rows(block.start, block.stop)
        except (OSError, ValueError, StopIteration) as error:
            raise unreadable(file, error) from error
        table = table.add_column(0, columns.ROW, pa.array(range(block.row, block.row + block.rows), pa.int64()))
        return table.add_column(0, columns.FILE, pa.array([file] * block.rows, pa.string())), []

    def _check(self, file: Path, schema: pa.Schema) -> None:
        import pyarrow as pa

        needed = self.batch.needed
        check_columns(str(file), schema.names, needed, [*columns.IDENTITY, *columns.RESULTS])
        for name in needed:
            kind = schema.field(name).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not any(is_text(kind) for is_text in _texts()):
                raise InputError(f"the column {name!r} of {file} holds no texts but {kind}; name another")

    def _bytes(self, group: Any) -> int:
        """Bytes of the texts of a row group."""
        parts = (group.column(i) for i in range(group.num_columns))
        return sum(part.total_uncompressed_size for part in parts if part.path_in_schema == self.batch.text_column)


def _texts() -> list[Any]:
    from pyarrow import types

    return [types.is_string, types.is_large_string, types.is_string_view, types.is_binary, types.is_large_binary]


class _Cursor:
    """The rows of a row group, read forward once."""

    def __init__(self, file: str, group: int) -> None:
        import pyarrow.parquet as pq

        self._place = (file, group)
        self._batches = pq.ParquetFile(file, buffer_size=_BUFFER).iter_batches(_ROWS, row_groups=[group], use_threads=False)
        self._held: pa.Table | None = None
        self._row = 0  # the one that what is held begins with

    def before(self, file: str, group: int, row: int) -> bool:
        """Whether a row lies ahead."""
        return self._place == (file, group) and self._row <= row

    def rows(self, start: int, stop: int) -> pa.Table:
        import pyarrow as pa

        parts = []
        while True:
            if self._held is not None:
                first, last = max(start - self._row, 0), min(stop - self._row, len(self._held))
                if first < last:
                    parts.append(self._held.slice(first, last - first))
                if self._row + len(self._held) >= stop:
                    return pa.concat_tables(parts)
                self._row += len(self._held)
            self._held = pa.Table.from_batches([next(self._batches)])
