"""The files of a corpus, cut into blocks of rows that can be read apart, in any order, on any machine that sees the files.

block    what a block is, and how files are found
text     a file is a row
jsonl    a line is a row
parquet  a row is a row
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from ...errors import InputError
from ..batches import BatchCompressor
from .block import Source
from .jsonl import JsonLines
from .parquet import Parquet
from .text import TextFiles

SOURCES: dict[str, type[Source]] = {"parquet": Parquet, "jsonl": JsonLines, "text": TextFiles}


def open_source(
    inputs: Sequence[str | PathLike[str]], batch: BatchCompressor, format: str | None = None
) -> tuple[str, Source, list[Path]]:
    """The format of a corpus, what reads it, and its files, by their full paths in order.

    Of folders those files count, at any depth, that have one of the format's endings, and no name that begins with a dot or
    an underscore.

    Args:
        inputs: files and folders. format: one of ``SOURCES``; None = as the names of the files say.

    Raises:
        InputError: a path is missing, there is no file, or there are files of several formats.
    """
    if format is not None and format not in SOURCES:
        raise InputError(f"unknown format {format!r}; use one of {', '.join(SOURCES)}")
    found: dict[Path, str] = {}
    for given in inputs:
        path = Path(given).resolve()
        if path.is_dir():
            inside = [file for file in path.rglob("*") if _visible(file.relative_to(path)) and file.is_file()]
            found |= {file: kind for file in inside if (kind := _kind(file)) and kind == (format or kind)}
        elif not path.exists():
            raise InputError(f"there is no file or folder {given}")
        elif kind := format or _kind(path):
            found[path] = kind
        else:
            raise InputError(f"the name of {given} does not say what it holds; name an input_format: {', '.join(SOURCES)}")
    kinds = sorted(set(found.values()))
    if not kinds:
        endings = ", ".join(end for name in ([format] if format else SOURCES) for end in SOURCES[name].endings)
        raise InputError(f"there is no file to compress in {', '.join(map(str, inputs))}; looked for {endings}")
    if len(kinds) > 1:
        raise InputError(f"there are files of several formats ({', '.join(kinds)}); name an input_format, or single files")
    return kinds[0], SOURCES[kinds[0]](batch), sorted(found)


def _kind(file: Path) -> str | None:
    return next((name for name, source in SOURCES.items() if file.suffix.lower() in source.endings), None)


def _visible(path: Path) -> bool:
    return not any(part.startswith((".", "_")) for part in path.parts)
