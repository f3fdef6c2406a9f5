"""Corpora and services on a Ray cluster (extra ``ray``).

    >>> from cprs_core.distributed import BatchCompressor, compress_corpus
    >>> compress_corpus(["corpus/"], "out", BatchCompressor(query="Who owns it?", ratio=0.1), workers=4)  # doctest: +SKIP

batches   a batch of rows in, the same rows with their compressions out: a stage for any pipeline of Ray Data
tables    batches as tables of Arrow, and what is in their columns
columns   the names of those that are added
sources   the files of a corpus, cut into blocks that can be read apart: Parquet, JSON lines, text
parts     what a block becomes on disk, whole or not at all
worker    one block: read, compressed, written, counted
cluster   which Ray cluster, and how many workers of it
settings  what an output depends on
corpus    all blocks through a pool of workers; a run that was stopped goes on
report    what a run shows while it goes on, and what it says at its end
command   ``cprs map``
serve     ``cprs serve`` as a deployment of Ray Serve

Nothing here imports Ray, pyarrow or torch before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batches import BatchCompressor as BatchCompressor
    from .corpus import compress_corpus as compress_corpus
    from .report import Summary as Summary

_HOME = {"BatchCompressor": "batches", "compress_corpus": "corpus", "Summary": "report"}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
