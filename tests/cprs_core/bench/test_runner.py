"""Every side runs what it should, on the same texts."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cprs_core import ContextCompressor
from cprs_core.bench import runner
from cprs_core.bench.host import InstantScorer
from cprs_core.bench.measure import Measured
from cprs_core.bench.options import RANDOM_7B, TASKS, Options
from cprs_core.bench.runner import Bench, Row, steps
from cprs_core.bench.sides import Side, open_side, sides


def test_the_straightforward_way_has_a_limit(options: Callable[..., Options]) -> None:
    plain, fast = sides(options())
    asked = options(tasks=TASKS)
    assert (str(plain), str(fast)) == ("plain float32", "cprs float32")
    assert steps(plain, asked) == [("start", 0), ("length", 100), ("documents", 5), ("batch", 0)]
    assert steps(fast, asked) == [
        *(
            ("start", 0),
            ("length", 100),
            ("length", 300),
            ("documents", 5),
            ("batch", 256),
            ("batch", 512),
            ("agreement", 100),
        )
    ]
    assert sides(options(baseline=False, dtypes=("bfloat16", "float8"))) == [
        Side("cprs", "bfloat16"),
        Side("cprs", "float8"),
    ]


def test_rows_say_what_was_measured(options: Callable[..., Options]) -> None:
    told: list[str] = []
    rows = list(Bench(options(tasks=("length", "documents")), told.append).rows())
    assert [(row.task, row.side, row.size) for row in rows] == [
        ("length", "plain float32", 100),
        ("documents", "plain float32", 5),
        ("length", "cprs float32", 100),
        ("length", "cprs float32", 300),
        ("documents", "cprs float32", 5),
    ]
    assert rows[0].tokens == rows[2].tokens and rows[1].tokens == rows[4].tokens == pytest.approx(200, rel=0.05)
    assert all(len(row.seconds) == 1 and min(row.seconds) > 0 for row in rows)
    assert all(0 < row.figures["host_share"] < 1 for row in rows if row.task == "length")
    assert rows[4].figures["documents_per_second"] == pytest.approx(5 / rows[4].median)
    assert told == [
        *("plain float32: loading", "plain float32: length 100", "plain float32: documents 5", "cprs float32: loading"),
        *("cprs float32: length 100", "cprs float32: length 300", "cprs float32: documents 5"),
    ]


def test_float32_agrees_with_itself(options: Callable[..., Options]) -> None:
    (row,) = Bench(options(tasks=("agreement",), lengths=(150,)), lambda what: None).rows()
    assert row.figures["same_label"] == row.figures["same_decision"] == 1
    assert row.figures["difference"] < 1e-4 and row.tokens == row.figures["tokens_compared"] > 3 * 140


@pytest.mark.usefixtures("tiny_7b")
def test_random_weights_are_the_same_for_both_sides(options: Callable[..., Options], prose: str) -> None:
    of_random = options(model=RANDOM_7B)
    plain, fast = (open_side(side, of_random).scores(prose, "Who is she?") for side in sides(of_random))
    assert abs(plain.keep - fast.keep).max() < 1e-4
    bfloat16 = open_side(Side("cprs", "bfloat16"), of_random).scores(prose, "Who is she?")
    assert 1e-5 < abs(plain.keep - bfloat16.keep).max() < 0.1


def test_a_side_is_gone_when_the_next_is_loaded(options: Callable[..., Options], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[weakref.ref[ContextCompressor]] = []

    def watched(*arguments: Any) -> ContextCompressor:
        gc.collect()
        assert all(compressor() is None for compressor in opened)
        compressor = open_side(*arguments)
        opened.append(weakref.ref(compressor))
        return compressor

    monkeypatch.setattr(runner, "open_side", watched)
    asked = options(tasks=("length", "batch"), lengths=(100,), batches=(256,), dtypes=("float32", "bfloat16"))
    assert len(list(Bench(asked, lambda what: None).rows())) == 6 and len(opened) == 3


def test_every_device_is_warm_before_the_clock_starts(
    options: Callable[..., Options], prose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorers = [InstantScorer() for _ in range(4)]
    one = open_side(Side("cprs", "float32"), options())
    several = ContextCompressor(replace(one.checkpoint, scorers=scorers, skim=None), window_size=256, batch_tokens=256)
    warm: list[int] = []

    def measured(*_: object) -> Measured:
        warm.extend(len(scorer.seen) for scorer in scorers)
        return Measured([1.0], None, 0)

    monkeypatch.setattr(runner, "measure", measured)
    Bench(options(), lambda what: None)._compress(several, [prose * 20])
    assert min(warm) >= 2


def test_the_median_counts() -> None:
    row = Row("length", "plain float32", 100, 99, [3.0, 1.0, 9.0], {})
    assert row.median == 3 and row.speed == 33
    assert row.to_dict() | {"median_seconds": 3.0, "tokens_per_second": 33.0} == row.to_dict()
