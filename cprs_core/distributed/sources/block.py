"""A block: rows of a corpus that are read, compressed and written together; and what can read it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ...errors import CprsError, InputError
from ..batches import BatchCompressor

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Block:
    """Args:
    number: its place in the corpus. files: where it is. row: the number of its first row in the file. rows: how many.
    start, stop: bytes of the file, or rows of the row group ``group``, as the format needs them.
    """

    number: int
    files: list[str]
    row: int
    rows: int
    start: int = 0
    stop: int = 0
    group: int = 0

    def __str__(self) -> str:
        if len(self.files) > 1:
            return f"the files {self.files[0]} to {self.files[-1]}"
        return f"{self.files[0]}, rows {self.row:,} to {self.row + self.rows - 1:,},"


class Bad(NamedTuple):
    """A row that cannot be compressed, and why."""

    file: str
    row: int
    reason: str

    @classmethod
    def of(cls, file: str, row: int, error: CprsError) -> Bad:
        return cls(file, row, f"{type(error).__name__}: {error}")


class Source(ABC):
    """Args:
    batch: what the rows are read for; it names the columns.
    """

    endings: ClassVar[tuple[str, ...]]

    def __init__(self, batch: BatchCompressor) -> None:
        self.batch = batch

    @abstractmethod
    def cut(self, files: Sequence[Path], size: int) -> Iterator[Block]:
        """Blocks of about ``size`` bytes of text; always the same ones for the same files and size.

        Raises:
            InputError: a file that cannot be read, or has no such columns.
        """

    @abstractmethod
    def read(self, block: Block) -> tuple[pa.Table, list[Bad]]:
        """The rows of a block with their file and number, and those that are none.

        Raises:
            InputError: the file can no longer be read.
        """


def unreadable(file: object, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"cannot read {file}: {reason}")
