"""Seconds and memory are those of the work."""

from __future__ import annotations

import mmap
import time

import torch

from cprs_core.bench.measure import measure


def test_seconds_are_those_of_each_run() -> None:
    pauses = iter((0.02, 0.05))
    measured = measure(lambda: time.sleep(next(pauses)), 2, torch.device("cpu"))
    first, second = measured.seconds
    assert 0.02 <= first < second and second >= 0.05
    assert measured.gpu_bytes is None


def test_memory_that_is_given_back_counts() -> None:
    def hold() -> None:
        with mmap.mmap(-1, 100 * 2**20) as held:  # malloc may have memory left from other tests
            for _ in range(100):
                held.write(bytes(2**20))
            time.sleep(0.5)  # a busy machine looks late

    measured = measure(hold, 1, torch.device("cpu"))
    assert 95 * 2**20 < measured.host_bytes < 150 * 2**20
    assert measure(lambda: None, 2, torch.device("cpu")).host_bytes < 10 * 2**20
