"""Windows: they cover the text, fit, end where something ends, and merge to what plain averaging gives."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cprs_core.errors import InputError
from cprs_core.segments import segment
from cprs_core.tokens import Tokens
from cprs_core.windows import Merger, room
from cprs_core.windows import plan as cut_up


def characters(text):
    """One token a character."""
    places = np.arange(len(text), dtype=np.int64)
    return Tokens(np.zeros(len(text), np.int32), places, places + 1)


def plan(text, tokens, size, overlap=0):
    """Where the windows lie, [w, 2]."""
    windows = list(cut_up(text, [tokens], size, overlap))
    for start, part, _ in windows:
        np.testing.assert_array_equal(part.starts, tokens.starts[start : start + len(part)])
    assert [later for _, _, later in windows] == [*(start for start, _, _ in windows[1:]), None][: len(windows)]
    return np.array([(start, start + len(part)) for start, part, _ in windows], np.int64).reshape(-1, 2)


def check(text, tokens, windows, size, overlap):
    n = len(tokens)
    if not n:
        assert windows.shape == (0, 2)
        return
    assert windows[0, 0] == 0 and windows[-1, 1] == n
    assert (windows[:, 1] - windows[:, 0] <= size).all()
    assert (windows[:, 0] < windows[:, 1]).all()
    assert (np.diff(windows, axis=0) > 0).all()
    shared = windows[:-1, 1] - windows[1:, 0]
    assert (shared >= overlap).all()
    covered = np.zeros(n, bool)
    for start, end in windows:
        covered[start:end] = True
    assert covered.all()
    for border in {*windows[1:, 0].tolist(), *windows[:-1, 1].tolist()}:
        assert tokens.starts[border] >= tokens.ends[border - 1], "a window splits a character"


@settings(max_examples=150)
@given(st.data(), st.integers(32, 60), st.integers(0, 16), st.integers(1, 6))
def test_any_text_is_covered_in_order_within_room(tiny, odd_text, data, size, overlap, times):
    text = data.draw(odd_text) * times
    tokens = tiny.tokenizer(text)
    check(text, tokens, plan(text, tokens, size, overlap), size, overlap)


@pytest.mark.parametrize("overlap", [0, 40])
def test_windows_end_at_paragraphs_or_else_at_sentences(overlap):
    text = "\n\n".join(" ".join(f"Sentence number {i} of paragraph {p}." for i in range(3 + p % 4)) for p in range(60))
    tokens = characters(text)
    windows = plan(text, tokens, 300, overlap)
    check(text, tokens, windows, 300, overlap)
    paragraphs = set(segment(text, "paragraph")[:, 0].tolist())
    sentences = set(segment(text, "sentence")[:, 0].tolist())
    ends = windows[:-1, 1].tolist()
    assert set(ends) <= sentences
    for start, end in windows[:-1]:
        near = [p for p in paragraphs if start + 255 < p <= start + 300]  # at most 15 % of the window stays empty
        assert not near or end == max(near)
    assert any(end in paragraphs for end in ends)


@settings(max_examples=100)
@given(st.data(), st.integers(32, 60), st.integers(0, 16))
def test_a_text_that_comes_in_parts_is_cut_in_the_same_way_and_no_earlier_than_needed(tiny, odd_text, data, size, overlap):
    text = data.draw(odd_text) * 3
    tokens = tiny.tokenizer(text)
    cuts = sorted({0, len(tokens), *data.draw(st.lists(st.integers(0, len(tokens)), max_size=8))})
    taken = 0

    def parts():
        nonlocal taken
        for start, end in pairwise(cuts):
            taken = end
            yield tokens[start:end]

    whole = plan(text, tokens, size, overlap).tolist()
    for (start, end), (begin, part, _) in zip(whole, cut_up(text, parts(), size, overlap), strict=True):
        assert (begin, begin + len(part)) == (start, end)
        assert taken <= next((cut for cut in cuts if cut > start + size), len(tokens))


def test_a_text_without_any_end_is_cut_at_full_windows():
    text = "x" * 1000
    assert plan(text, characters(text), 300).tolist() == [[0, 300], [300, 600], [600, 900], [900, 1000]]
    assert plan(text, characters(text), 300, 100).tolist() == [[i, i + 300] for i in range(0, 601, 200)] + [[800, 1000]]


def test_a_far_sentence_end_is_not_waited_for():
    text = "A short one. " + "x" * 500
    assert plan(text, characters(text), 100)[0].tolist() == [0, 100]


def test_a_character_of_many_tokens_is_not_split(tiny):
    text = "龘" * 100  # several tokens each
    tokens = tiny.tokenizer(text)
    assert len(tokens) > 200
    for size in range(32, 45):
        check(text, tokens, plan(text, tokens, size), size, 0)


@pytest.mark.parametrize("n", [0, 1, 50])
def test_short_texts_are_one_window_or_none(n):
    text = "x" * n
    assert plan(text, characters(text), 50).tolist() == ([[0, n]] if n else [])


def test_room():
    assert room(8192, 100) == 8092
    assert room(256, 200, 28) == 56
    with pytest.raises(InputError, match="take 8000 tokens of a window of 8192"):
        room(8192, 8000)
    with pytest.raises(InputError, match="shorten them"):
        room(64, 40)
    for overlap in (-1, 29):
        with pytest.raises(InputError, match="overlap must be 0 to 28"):
            room(256, 200, overlap)


@given(st.data())
def test_merger_averages_where_windows_overlap(data):
    n, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 3))
    cuts = sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=5))})
    windows = [(max(0, a - data.draw(st.integers(0, 4))), b) for a, b in pairwise(cuts)]
    rng = np.random.default_rng(n)
    merger, seen = Merger(data.draw(st.sampled_from([0, n])), width), [[] for _ in range(n)]
    for start, end in windows:
        values = rng.random((end - start, width), np.float32)
        merger.reach(start + len(values))
        merger.add(slice(start, start + len(values)), values)
        for i, row in enumerate(values):
            seen[start + i].append(row)
    expected = np.array([np.mean(rows, axis=0) for rows in seen])
    np.testing.assert_allclose(merger.mean(0, n), expected, rtol=1e-5)
    low, high = sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n))))
    np.testing.assert_array_equal(merger.mean(low, high), merger.mean(0, n)[low:high])
