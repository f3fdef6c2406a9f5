"""Runs windows through a critic: in batches within a token budget that adapts to memory, results in order.

Each GPU gets its next batch before the last one's results are fetched, so that what the host does (cutting and tokenising
texts, making spans of scores) happens while GPUs compute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .errors import OutOfMemoryError
from .scoring import Memory, Scorer, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CPU_TOKENS = 2048  # a CPU gains nothing from more at once, and its caches lose
_GPU_BYTES = 2 * 2**30  # of activations, at least: enough to keep any GPU busy
_GPU_TOKENS = 2**18


@dataclass(frozen=True)
class WindowScores:
    """Probabilities of a window's n tokens: label_probs float32 [n, 4], tag_probs float32 [n, T]."""

    label_probs: NDArray[np.float32]
    tag_probs: NDArray[np.float32]


class Engine:
    """Args:
    scorers: one for each device; batches go to them in turn. batch_tokens: tokens of a batch, every window's prefix
        included; halved for good when memory runs out. None = by device and free memory.
    """

    def __init__(self, scorers: Sequence[Scorer], *, batch_tokens: int | None = None) -> None:
        self.scorers, self.device = scorers, scorers[0].device
        self.batch_tokens = batch_tokens or min(_batch_tokens(scorer, len(scorers)) for scorer in scorers)
        gpus = sum(scorer.device.type == "cuda" for scorer in scorers)
        self.ahead = max(0, 2 * gpus - 1)  # batches on their way: while a GPU works, its next one waits

    def run(self, windows: Iterable[Window]) -> Iterator[WindowScores]:
        """Scores windows; results come in the order of the windows, a batch at a time."""
        memory: Memory = {}
        waiting: deque[_Results] = deque()
        for batch, scorer in zip(self._batches(windows), cycle(self.scorers), strict=False):
            for results in self._launch(batch, scorer, memory):
                waiting.append(results)
                while len(waiting) > self.ahead:
                    yield from waiting.popleft()
        for results in waiting:
            yield from results

    def _batches(self, windows: Iterable[Window]) -> Iterator[list[Window]]:
        """Neighbours that go together, within the budget. To each GPU a first window goes alone, as long as these are long:
        it begins while others are cut."""
        batch: list[Window] = []
        tokens = 0
        alone = (self.ahead + 1) // 2
        for window in windows:
            if alone and 8 * len(window) >= self.batch_tokens:
                alone -= 1
                yield [window]
                continue
            alone = 0
            full = tokens + len(window) > self.batch_tokens
            if batch and (full or not window.goes_with(batch[0])):
                yield batch
                batch, tokens = [], 0
            batch.append(window)
            tokens += len(window)
        if batch:
            yield batch

    def _launch(self, windows: list[Window], scorer: Scorer, memory: Memory) -> Iterator[_Results]:
        """Hands windows to a device, in halves if its memory does not suffice."""
        try:
            results = _Results(scorer.score(windows, memory), windows)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not isinstance(error, torch.OutOfMemoryError) and "alloc" not in str(error):
                raise
            if len(windows) == 1:
                raise OutOfMemoryError(
                    f"one window of {len(windows[0])} tokens does not fit into the memory of {scorer.device}; load the "
                    "model with a smaller window_size, in bfloat16, or on another device"
                ) from error
        else:
            yield results
            return
        if scorer.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(windows) // 2
        self.batch_tokens = min(self.batch_tokens, sum(map(len, windows[:half])))
        yield from self._launch(windows[:half], scorer, memory)
        yield from self._launch(windows[half:], scorer, memory)


class _Results:
    """Scores on their way from the device; iterating waits for them."""

    def __init__(self, scores: Tensor, windows: list[Window]) -> None:
        self._lengths = [len(window.ids) for window in windows]
        self._done: torch.cuda.Event | None = None
        self._scores = scores
        if scores.is_cuda:
            self._scores = torch.empty(scores.shape, dtype=scores.dtype, pin_memory=True)
            self._scores.copy_(scores, non_blocking=True)
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(scores.device))

    def __iter__(self) -> Iterator[WindowScores]:
        if self._done is not None:
            self._done.synchronize()
        scores = self._scores.cpu().numpy()
        for part in np.split(scores, np.cumsum(self._lengths)[:-1]):
            yield WindowScores(part[:, :4], part[:, 4:])


def _batch_tokens(scorer: Scorer, replicas: int) -> int:
    """Several replicas share a text, so that each gets smaller parts of it."""
    if scorer.device.type == "cpu":
        return _CPU_TOKENS
    wanted = max(_GPU_BYTES, scorer.batch_bytes // replicas)
    if scorer.device.type == "cuda":
        free = torch.cuda.mem_get_info(scorer.device)[0]
        free += torch.cuda.memory_reserved(scorer.device) - torch.cuda.memory_allocated(scorer.device)
        wanted = min(wanted, free // 2)
    return max(1, min(_GPU_TOKENS, wanted // scorer.token_bytes))
