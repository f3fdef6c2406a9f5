"""Seconds, and memory at its highest, of a piece of work."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch

_PAUSE = 0.01  # seconds between two looks at the memory


@dataclass(frozen=True)
class Measured:
    """Attributes:
    seconds: of each run.
    gpu_bytes: the most that was allocated on the GPU, weights included; None where there is no GPU.
    host_bytes: how far the process's memory rose above what it was before, in the run in which it rose most: the first,
        since much of it stays with the process.
    """

    seconds: list[float]
    gpu_bytes: int | None
    host_bytes: int


def measure(work: Callable[[], object], runs: int, device: torch.device) -> Measured:
    """Does the work so many times; it must end with results on the host."""
    is_cuda = device.type == "cuda"
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    seconds, growth = [], []
    for _ in range(runs):
        gc.collect()
        with HostMemory() as memory:
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
        growth.append(memory.growth)
    return Measured(seconds, torch.cuda.max_memory_allocated(device) if is_cuda else None, max(growth))


class HostMemory:
    """``with HostMemory() as memory: ...``; then ``memory.growth`` is how far the process's resident bytes rose, to
    ``memory.peak``."""

    def __enter__(self) -> HostMemory:
        self._process = psutil.Process()
        self._before = self.peak = self._resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self.peak = max(self.peak, self._resident())

    @property
    def growth(self) -> int:
        return self.peak - self._before

    def _watch(self) -> None:
        while not self._over.wait(_PAUSE):
            self.peak = max(self.peak, self._resident())

    def _resident(self) -> int:
        return self._process.memory_info().rss


def release(device: torch.device) -> None:
    """Gives back what is no longer used, so that the next side starts without it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
