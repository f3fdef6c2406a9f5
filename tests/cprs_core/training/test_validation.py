"""Decision rules against a plain loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cprs_core.training.validation import Predictions, best_rule, decision


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.4, 0.5, 0.9]), st.booleans(), st.integers(0, 4)), min_size=1),
    st.sampled_from([0.1, 0.3, 0.5]),
    st.sampled_from([0.0, 0.5, 0.9]),
)
def test_decisions_are_those_of_a_loop(rows: list[tuple[float, bool, int]], limit: float, share: float) -> None:
    by_window: dict[int, list[tuple[float, bool]]] = {}
    for score, truth, window in rows:
        by_window.setdefault(window, []).append((score, truth))
    f1, needless = [], []
    for window_rows in by_window.values():
        least = max(limit, share * max(score for score, _ in window_rows))
        hits = sum(score >= least and truth for score, truth in window_rows)
        kept, true = sum(score >= least for score, _ in window_rows), sum(truth for _, truth in window_rows)
        if true:
            f1.append(2 * hits / (kept + true))
        else:
            needless.append(kept / len(window_rows))
    expected = [sum(values) / len(values) if values else 0.0 for values in (f1, needless)]
    assert decision(_predictions(rows), limit, share) == pytest.approx(expected)


def test_the_best_rule_finds_more_but_keeps_little_of_nothing() -> None:
    # a weak truth, and noise as strong as it in a window without a truth
    rows = [(0.9, True, 0), (0.3, False, 0), (0.3, True, 1), (0.05, False, 1), *[(0.25, False, 2)] * 99, (0.5, False, 2)]
    limit, share = best_rule(_predictions(rows), [0.0, 0.5])
    assert 0.25 < limit <= 0.3 and share == 0.5
    stronger = [*rows, *[(0.35, False, 3)] * 2]
    assert best_rule(_predictions(stronger), [0.0, 0.5])[0] == 0.4


def test_of_nearly_equal_rules_the_lowest_limit_is_taken() -> None:
    rows = [(0.9, True, 0), (0.02, False, 0), (0.12, False, 1)]  # window 1, without a truth, allows no limit up to .12
    assert best_rule(_predictions(rows), [0.0]) == (0.15, 0.0)
    faint = [*rows, *[(0.9, True, n) for n in range(2, 300)], (0.2, False, 2)]  # a hair better without the .2
    assert best_rule(_predictions(faint), [0.0]) == (0.15, 0.0)
    assert best_rule(_predictions([*rows, *[(0.2, False, 0)] * 3]), [0.0])[0] > 0.2


def _predictions(rows: list[tuple[float, bool, int]]) -> Predictions:
    scores, truth, windows = zip(*rows, strict=True)
    return Predictions(torch.tensor(scores, dtype=torch.float64), torch.tensor(truth), torch.tensor(windows))
