"""Sums of rows by hand, and what of them is printed."""

from __future__ import annotations

import io
import json
import random
from typing import Any

import pytest
from rich.console import Console

from cprs_core.evaluation.report import ALL, results, summary, tables

from .rows import decided, row

BINS = [[8.0, 0.4, 0.0], *[[0.0, 0.0, 0.0]] * 8, [2.0, 1.8, 1.0]]


def printed(tasks: dict[str, Any], width: int = 130) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(*tables(tasks))
    return capture.get()


def test_figures_are_means_and_speed_and_compression_are_of_all_together() -> None:
    rows = [
        row(0, "cprs", figures=decided(1.0, 10.0), bins=BINS),
        row(1, "cprs", figures={**decided(0.0, 90.0), "cost": {"seconds": 1.5}, "recall": {"2": 0.0, "10": 0.5}}, bins=BINS),
        row(0, "bm25"),
    ]
    found = summary(rows)
    assert list(found) == ["cprs", "bm25"]
    cprs = found["cprs"]
    assert cprs["cases"] == 2 and cprs["without_answer"] == 0
    assert cprs["recall"] == {"2": 0.25, "10": 0.75} and cprs["decision"]["retained"] == 0.5
    assert cprs["cost"] == {"seconds": 1.0, "tokens_per_second": 1000.0}
    assert cprs["decision"]["compression"] == 2000 / 100
    assert cprs["calibration"]["bins"][0] == [16.0, 0.8, 0.0]
    assert cprs["calibration"]["error"] == pytest.approx((0.8 + 1.6) / 20)
    assert "decision" not in found["bm25"] and "calibration" not in found["bm25"]


def test_cases_without_an_answer_count_apart() -> None:
    text = {"tokens": 500.0, "chars": 2000.0, "sentences": 9.0, "gold": 0.0}
    without = row(1, "cprs", figures={"text": text, "no_answer": {"kept": 0.25}})
    del without["figures"]["recall"]
    found = summary([row(0, "cprs", figures=decided(1.0, kept_tokens=0.0)), without])["cprs"]
    assert (found["cases"], found["without_answer"]) == (1, 1)
    assert found["no_answer"] == {"kept": 0.25} and found["recall"]["2"] == 0.5
    assert found["decision"]["compression"] is None  # nothing was kept
    assert json.loads(json.dumps(found)) == found


def test_the_order_of_rows_changes_nothing() -> None:
    rng = random.Random(0)
    rows = [
        row(number, "cprs", figures={"recall": {"2": rng.random()}, **decided(1.0)}, bins=[[1.0, rng.random(), 0.0]])
        for number in range(50)
    ]
    shuffled = rng.sample(rows, len(rows))
    assert rows != shuffled and results(rows)["tasks"] == results(shuffled)["tasks"]


def test_groups_are_by_what_differs() -> None:
    rows = [
        row(number, "cprs", task, about={"length": length, "kind": "uuid"}, figures={"recall": {"2": length / 8}})
        for number, (task, length) in enumerate([("a", 2), ("a", 4), ("a", 4), ("b", 8)])
    ]
    found = results(rows)
    assert list(found["tasks"]) == ["a", "b", ALL] and found["tasks"][ALL]["cprs"]["cases"] == 4
    assert found["groups"]["b"] == {} and list(found["groups"]["a"]) == ["length"]
    by_length = found["groups"]["a"]["length"]
    assert {value: of["cprs"]["recall"]["2"] for value, of in by_length.items()} == {"2": 0.25, "4": 0.5}
    assert ALL not in results(rows[:3])["tasks"]


def test_tables_show_what_there_is() -> None:
    read = {"reader": {"exact": 0.5, "f1": 0.625, "contains": 1.0, "kept": 0.1}}
    rows = [
        row(0, "cprs", figures={**decided(1.0), **read, "retained": {"2": 0.125, "10": 1.0}}, bins=BINS),
        row(0, "bm25"),
        row(1, "longllmlingua", "kv", figures={"kept": {"2": 0.13, "10": 0.2}}),
    ]
    shown = printed(results(rows)["tasks"])
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "niah/single cprs 1 0.500 1.000 0.500 2,000" in lines and "bm25 1 0.500 1.000 0.500 2,000" in lines
    assert "niah/single cprs 0.125 1.000" in lines
    assert "task method precision recall F1 retained kept tokens in/out calibration error" in lines
    assert "niah/single cprs 1.000 0.500 0.750 1.000 0.010 100 0.120" in lines
    assert "niah/single cprs 0.500 0.625 1.000 0.100" in lines
    assert any(line.startswith("longllmlingua kept more") for line in lines)
    assert any(line.startswith(ALL) for line in lines)

    shown = printed(results([row(0, "bm25")])["tasks"])
    assert "own decision" not in shown and "LLM" not in shown and "kept more" not in shown
    assert "2.5 %" in printed(results([row(0, "m", figures={"kept": {"2.5": 0.02}, "recall": {"2.5": 0.5}})])["tasks"])
