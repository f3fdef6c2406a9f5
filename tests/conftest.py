"""A tiny random critic, odd texts, and hypothesis made repeatable. No test uses the network or a GPU."""

import os
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from odd import PIECES

os.environ["HF_HUB_OFFLINE"] = "1"
settings.register_profile("cprs", deadline=None, derandomize=True)
settings.register_profile("overnight", deadline=None, max_examples=5_000)  # pytest --hypothesis-profile=overnight
settings.load_profile("cprs")

DATA = Path(__file__).parent / "data"
TINY = DATA / "tiny-checkpoint"


@pytest.fixture(scope="session")
def odd_text():
    """Strategy: texts of real pieces and of arbitrary characters, without lone surrogates."""
    pieces = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
    spaced = st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join)
    return st.one_of(pieces, spaced, st.text(max_size=60))


@pytest.fixture(scope="session")
def tiny_path():
    return TINY


@pytest.fixture(scope="session")
def tiny():
    """The tiny random checkpoint, loaded; it marks almost everything."""
    import torch

    from cprs_core.loading import load

    torch.set_num_threads(1)
    return load(TINY, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def tiny_model():
    """The same checkpoint as transformers has it; not to be changed."""
    from cprs_core.loading import load_model

    return load_model(TINY, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def sparse_model(tiny_model):
    """The same critic, but more fond of O, so that it leaves most tokens out."""
    import copy

    import torch

    model = copy.deepcopy(tiny_model)
    with torch.no_grad():
        model.cls_head.bias[2] += 3.5
    return model


@pytest.fixture(scope="session")
def sparse(tiny, sparse_model):
    """The checkpoint of ``sparse_model``."""
    from fakes import packed_scorer

    return replace(tiny, scorers=[packed_scorer(sparse_model)])


@pytest.fixture(scope="session")
def compressor(sparse):
    """Small windows, so that short texts have many."""
    from cprs_core import ContextCompressor

    return ContextCompressor(sparse, window_size=160, batch_tokens=4096)


@pytest.fixture(scope="session")
def prose():
    """About 600 tokens of the tiny tokenizer: prose, a list, code, Chinese, emoji, odd line ends."""
    return (
        "The licence ends on 3 May 2031. Nobody at Acme Inc. knew why, e.g. not even Dr. Who. It costs $3.50!\r\n\r\n"
        "Café 😀 prices rose by 4.5%. “Really?” she asked. 图书馆的造价是15.7亿元；后来增加了。没有人知道！\n"
        "- first item\n- second item, of <|im_end|> kind\n\ndef f(x):\n    return x + 1\n\n"
        "A last paragraph says that the lease of the yellow house was signed in 1999. Its owner is Ann."
    ) * 2


@pytest.fixture(scope="session")
def cluster():
    """A Ray cluster of two cores on this machine. Its tests are all in one file, so that they are all in one process."""
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
    yield
    ray.shutdown()


@pytest.fixture
def here(monkeypatch):
    """Lets runs over a corpus do their blocks in this process, one after the other. Gives their numbers, as they begin."""
    import pyarrow as pa

    from cprs_core.distributed import corpus
    from cprs_core.distributed.worker import BlockWorker

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
