"""Runs without Ray, all in this process."""

from contextlib import contextmanager
from dataclasses import asdict

import pyarrow as pa
import pytest

from cprs_core.distributed import BatchCompressor, corpus
from cprs_core.distributed.worker import BlockWorker

from .helpers import ASKED


@pytest.fixture
def batch(compressor):
    """What compresses rows in this process, with options changed."""
    return lambda **options: BatchCompressor(**{**ASKED, "load": lambda: compressor, **options})


@pytest.fixture
def here(monkeypatch):
    """Lets runs do their blocks in this process, one after the other. Gives the numbers of blocks, as they are begun."""
    begun = []

    @contextmanager
    def connected(address):
        yield {"CPU": 2.0}

    def tallies(blocks, work, pool):
        worker = BlockWorker(**work)
        for block in blocks:
            begun.append(block.number)
            (tally,) = worker(pa.Table.from_pylist([asdict(block)])).to_pylist()
            yield corpus.checked(tally)

    monkeypatch.setattr(corpus, "connected", connected)
    monkeypatch.setattr(corpus, "_tallies", tallies)
    return begun
