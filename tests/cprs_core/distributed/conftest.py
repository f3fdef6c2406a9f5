"""Runs without Ray, all in this process; and one Ray cluster for the tests that need it."""

import os
from contextlib import contextmanager
from dataclasses import asdict

import pyarrow as pa
import pytest

from cprs_core.distributed import BatchCompressor, corpus
from cprs_core.distributed.worker import BlockWorker

from . import helpers
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


@pytest.fixture(scope="session")
def cluster():
    """A Ray cluster of two cores on this machine."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level="error",
    )
    ray.cloudpickle.register_pickle_by_value(helpers)  # workers cannot import tests
    yield
    ray.shutdown()
