"""A text on its way: its units are those of the text, and no window waits for them."""

from dataclasses import replace

import numpy as np
import pytest

from cprs_core import Instruction, job
from cprs_core.segments import find_units, segment
from cprs_core.tokens import Tokenising

QUERY = "Who owns the house?"


@pytest.mark.parametrize("times", [1, 40])
@pytest.mark.parametrize("unit", ["word", "sentence", "line", "paragraph"])
def test_units_are_found_behind_the_windows(compressor, prose, monkeypatch, unit, times):
    text, looked_at = prose * times, [0]

    def counted(*asked):
        for found in find_units(*asked):
            looked_at.append(found[1])
            yield found

    monkeypatch.setattr(job, "find_units", counted)
    (one,) = compressor._jobs([(text, QUERY)], replace(Instruction.sentences(), unit=unit))
    reached = [looked_at[-1] for _ in one.engine_windows()]
    begins = [int(one.tokens.starts[start]) for start, _, _ in one.ranges]
    assert max(reached[:9]) == 0 and all(end <= begin for end, begin in zip(reached, begins, strict=True))
    assert (times == 1) or max(reached) > 0
    np.testing.assert_array_equal(one.units, segment(text, unit))


def test_a_window_does_not_wait_for_the_next(compressor, prose):
    (one,) = compressor._jobs([(prose, QUERY)], Instruction.sentences())
    tokens, taken = one.tokens, []
    parts = [tokens[start : start + 10] for start in range(0, len(tokens), 10)]
    one = replace(one, source=Tokenising((taken.append(part) or part for part in parts), len(prose)))
    for number, window in enumerate(one.engine_windows()):
        start, end, later = one.ranges[number]
        assert len(taken) == min(-(-(start + one.room + 1) // 10), len(parts))
        assert len(window.ids) == end - start and later == (None if end == len(tokens) else end)
    assert number > 1
