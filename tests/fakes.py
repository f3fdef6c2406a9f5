"""What tests put in place of the real thing: compressors and results without a model or with a brake, a random decoder,
servers."""

import asyncio
import copy
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import uvicorn
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from cprs_core import BudgetError, Compression, InputError, Instruction, Span
from cprs_core.engine import Engine, WindowScores
from cprs_core.linear import Dense, Linear
from cprs_core.scoring import PackedScorer, Window
from cprs_core.shape import Shape

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.4,  # large, so that a wrong mask or position shows
}


def examples(number: int) -> settings:
    """So many examples of a property, or as many as another profile than the default one says."""
    usual = settings.get_current_profile_name() == "cprs"
    return settings(max_examples=number if usual else settings.default.max_examples, suppress_health_check=list(HealthCheck))


def packed_scorer(model: Any, linear: type[Linear] = Dense, *, has_tags: bool = True) -> PackedScorer:
    """The fast pass over the weights of a module of transformers."""
    shape = Shape.of(model.config.to_dict())
    assert shape is not None
    return PackedScorer(shape, model.state_dict().get, linear, has_tags=has_tags)


class TableScorer:
    """The part of a scorer without a model that tests share: probabilities that depend on the token and the tags alone."""

    device, token_bytes = torch.device("cpu"), 1

    def __init__(self) -> None:
        self.table = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)).softmax(-1)

    def expected(self, window: Window) -> torch.Tensor:
        ids = torch.from_numpy(window.ids).long()
        tags = torch.sin(ids[:, None] * torch.from_numpy(window.tag_ids).float()).softmax(-1)[:, :-1]
        return torch.cat([self.table[ids], tags], 1)


def check(results: Sequence[WindowScores], given: Sequence[Window], fake: TableScorer) -> None:
    """Results must be those of the windows, in their order."""
    assert len(results) == len(given)
    for result, window in zip(results, given, strict=True):
        expected = fake.expected(window).numpy()
        np.testing.assert_array_equal(result.label_probs, expected[:, :4])
        np.testing.assert_array_equal(result.tag_probs, expected[:, 4:])


class FakeCompressor:
    """Keeps the sentences that say "keep"; a token is a word. Notes the arguments of its calls in ``calls``."""

    model_name = "fake"

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def compress_documents(
        self, documents: Sequence[str], query: str, instruction: Any = None, **limits: Any
    ) -> list[Compression]:
        self.calls.append({"documents": list(documents), "query": query, "instruction": instruction, **limits})
        if not query.strip():
            raise InputError("the query is empty")
        if limits.get("max_tokens") == 0:
            raise BudgetError("max_tokens must be at least 1")
        room = limits.get("max_tokens") or 10**9
        results = []
        for text in documents:
            spans = []
            for match in re.finditer(r"[^\s.][^.]*\.", text):
                if "keep" in match[0] and len(match[0].split()) <= room:
                    room -= len(match[0].split())
                    spans.append(Span(match.start(), match.end(), match[0], 0.9, Instruction.of(instruction).tags[0]))
            kept = sum(len(span.text.split()) for span in spans)
            results.append(Compression(text, tuple(spans), len(text.split()), kept, query, "", self.model_name, 0.0))
        return results

    async def acompress_documents(
        self, documents: Sequence[str], query: str, instruction: Any = None, **limits: Any
    ) -> list[Compression]:
        await asyncio.sleep(0)
        results = self.compress_documents(documents, query, instruction, **limits)
        self.calls[-1]["asynchronous"] = True
        return results


def compression(source: str, ranges: Sequence[tuple[int, int]], tag: str = "fact", query: str = "q?") -> Compression:
    """A result without a model, with some ranges kept."""
    spans = tuple(Span(a, b, source[a:b], 0.5, tag) for a, b in ranges)
    return Compression(source, spans, 40, 10, query, "Keep it.", "tiny", 0.25)


@st.composite
def sources(draw: Any, odd_text: Any) -> tuple[str, list[tuple[int, int]]]:
    """A text and disjoint ranges of it that begin and end with what is not white space, as those of the compressor."""
    text = draw(odd_text)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=10, unique=True)))
    ranges = []
    for start, end in zip(cuts[::2], cuts[1::2], strict=False):
        piece = text[start:end].lstrip()
        if piece:
            ranges.append((end - len(piece), end - len(piece) + len(piece.rstrip())))
    return text, ranges


class Brake:
    """A scorer that takes some seconds more for each batch, or waits until it is let go."""

    def __init__(self, scorer, seconds=0.0):
        self.scorer, self.seconds, self.batches, self.error = scorer, seconds, 0, None
        self.device, self.token_bytes = scorer.device, scorer.token_bytes
        self.free = threading.Event()
        self.free.set()

    def score(self, windows, memory):
        self.free.wait(30)
        time.sleep(self.seconds)
        self.batches += 1
        if self.error is not None:
            raise copy.copy(self.error)
        return self.scorer.score(windows, memory)


def slowed(compressor, seconds=0.0):
    """The compressor with a brake, and the brake."""
    brake = Brake(compressor.engine.scorers[0], seconds)
    slow = copy.copy(compressor)
    slow.engine = Engine([brake], batch_tokens=400)
    return slow, brake


def until(condition, seconds=10):
    """Waits for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


@contextmanager
def running(app: Any) -> Iterator[str]:
    """A server for an app, on a free port of this machine."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
