"""Text files: each is a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import CprsError, InputError, LimitError
from ...instruction import decode_text
from .. import columns
from .block import Bad, Block, Source, unreadable

if TYPE_CHECKING:
    import pyarrow as pa


class TextFiles(Source):
    endings = (".txt", ".md")

    def cut(self, files: Sequence[Path], size: int) -> Iterator[Block]:
        if self.batch.query_column is not None:
            raise InputError("text files have no columns, so no query column either; give one query for all of them")
        number, group, held = 0, list[str](), 0
        for file in files:
            try:
                length = file.stat().st_size
            except OSError as error:
                raise unreadable(file, error) from error
            if group and held + length > size:
                yield Block(number, group, 0, len(group))
                number, group, held = number + 1, [], 0
            group.append(str(file))
            held += length
        if group:
            yield Block(number, group, 0, len(group))

    def read(self, block: Block) -> tuple[pa.Table, list[Bad]]:
        import pyarrow as pa

        rows, bad = [], []
        for file in block.files:
            try:
                rows.append((file, self._text(Path(file))))
            except CprsError as error:
                bad.append(Bad.of(file, 0, error))
        names, texts = (pa.array([row[i] for row in rows], pa.string()) for i in (0, 1))
        zeros = pa.array([0] * len(rows), pa.int64())
        return pa.table({columns.FILE: names, columns.ROW: zeros, self.batch.text_column: texts}), bad

    def _text(self, file: Path) -> str:
        """A file as text, byte for byte, so that offsets are the file's."""
        most = self.batch.max_chars
        try:
            if most is not None and file.stat().st_size > 4 * most:  # a character has at most four bytes
                raise LimitError(f"the file has {file.stat().st_size:,} bytes, and may have {most:,} characters; split it")
            content = file.read_bytes()
        except OSError as error:
            raise unreadable(file, error) from error
        return decode_text(file.name, content)
