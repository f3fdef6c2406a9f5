"""The benchmark of ``cprs map``: the paper model against a simulation."""

import heapq
from math import ceil

import map as bench
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

SIZES = {"row_tokens": 300, "token_bytes": 4, "block_bytes": 2**20, "load_seconds": 30}


def simulated(costs, workers, worker_tokens, tokens, row_tokens, token_bytes, block_bytes, load_seconds):
    """Blocks one by one: each is given out when the driver is free and a worker is, and done when the worker is."""
    blocks = ceil(tokens * token_bytes / block_bytes)
    inside = tokens / blocks
    clock = costs.start + load_seconds + tokens * token_bytes * costs.byte + blocks * costs.listed
    free = [clock] * workers
    heapq.heapify(free)
    for _ in range(blocks):
        clock += costs.driver
        begun = max(clock, heapq.heappop(free))
        heapq.heappush(free, begun + inside / worker_tokens + inside / row_tokens * costs.row + costs.block)
    return max(free)


@given(
    workers=st.integers(1, 300),
    worker_tokens=st.floats(1e3, 1e6),
    tokens=st.floats(1e6, 1e9),
    driver=st.sampled_from([0, 1e-3, 1e-2, 0.5]),
)
def test_the_model_is_what_a_simulation_gives(workers, worker_tokens, tokens, driver):
    costs = bench.Costs(start=20, byte=1e-9, listed=1e-3, driver=driver, row=1e-5, block=5e-3)
    found = bench.predict(costs, workers, worker_tokens, tokens, **SIZES)
    expected = simulated(costs, workers, worker_tokens, tokens, **SIZES)
    block = SIZES["block_bytes"] / SIZES["token_bytes"] * (1 / worker_tokens + costs.row / 300) + costs.block
    assert expected - 1.01 * block - workers * driver <= found.seconds <= expected * 1.0001
    assert found.blocks == ceil(tokens * 4 / 2**20)


def test_what_bounds_a_run():
    costs = bench.Costs(start=20, byte=1e-9, listed=1e-3, driver=1e-2, row=1e-5, block=5e-3)
    bounds = {n: bench.predict(costs, n, 30_000, 1e10, **SIZES).bound for n in (1, 100, 5000)}
    assert bounds == {1: "workers", 100: "workers", 5000: "driver"}
    assert bench.predict(costs, 30, 30_000, 1e7, **SIZES).bound == "start"
    assert bench.predict(costs, 30, 300, 1e7, **SIZES).bound == "too few blocks"


def test_the_table():
    result = CliRunner().invoke(bench.app, ["model", "--tokens", "1e9"])
    assert result.exit_code == 0 and "4,096" in result.output and "bound by" in result.output
