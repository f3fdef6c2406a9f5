"""Haystacks: sized in tokens, planted in without a loss."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable
from itertools import chain, count, pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cprs_core.errors import InputError
from cprs_core.evaluation.haystack import NOISE, Haystack, load, plant, take
from cprs_core.segments import Unit, segment

from .conftest import count_words

UNITS: tuple[Unit, ...] = ("sentence", "line", "paragraph")
DEPTHS = st.floats(0, 100)


@given(st.integers(1, 1_000), st.integers(1, 30), st.randoms(use_true_random=False))
def test_pieces_are_taken_in_order_to_half_a_percent_or_half_a_piece(tokens: int, longest: int, rng: random.Random) -> None:
    pieces = [f"{number} " * rng.randint(1, longest) for number in range(2 * tokens + 2)]
    batches = list(take(iter(pieces), tokens, count_words))
    taken = list(chain.from_iterable(batches))
    assert taken == pieces[: len(taken)] and all(batches)
    assert -tokens / 200 - longest <= count_words("".join(taken)) - tokens <= longest


def test_every_piece_is_counted_once_in_few_calls() -> None:
    calls: list[str] = []

    def noted(text: str) -> int:
        calls.append(text)
        return count_words(text)

    batches = list(take((f"{number} " for number in count()), 300_000, noted))
    assert calls == ["".join(batch) for batch in batches] and len(calls) < 25
    assert abs(count_words("".join(calls)) / 300_000 - 1) < 0.006


@pytest.mark.parametrize(
    "paragraph",
    [
        "",
        "图书馆的造价是十五亿元；后来增加了。没有人知道！",
        "👩‍👩‍👧 🇨🇭🇨🇭 cafe\u0301 नमस्ते। שלום مرحبا؟",
        "x" * 500,
        "one\r\n\ttwo\u2028three\u3000four",
    ],
)
@pytest.mark.parametrize("tokens", [2_000, 8_000])
def test_texts_have_the_length_that_was_asked_for(count_tokens: Callable[[str], int], paragraph: str, tokens: int) -> None:
    source = Haystack((paragraph,)) if paragraph else load("pydoc")
    text = source.text(tokens, random.Random(0), count_tokens)
    assert abs(count_tokens(text) / tokens - 1) < 0.02
    assert text == source.text(tokens, random.Random(0), count_tokens)


def test_a_text_goes_round_its_source() -> None:
    paragraphs = tuple(f"Paragraph {number} ends here." for number in range(10))
    text = Haystack(paragraphs).text(100, random.Random(0), count_words)
    told = text.split("\n\n")
    start = paragraphs.index(told[0])
    assert told[:10] == list(paragraphs[start:] + paragraphs[:start])
    assert sorted(told[10:20]) == sorted(paragraphs) and told[10:20] != told[:10]
    assert len({Haystack(paragraphs).text(20, random.Random(seed), count_words) for seed in range(9)}) > 3


def test_a_long_text_takes_little_time_and_memory() -> None:
    source = Haystack(("a word " * 200_000,))  # one paragraph that is longer than the text
    tracemalloc.start()
    start = time.perf_counter()
    text = source.text(200_000, random.Random(0), count_words)
    seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert abs(count_words(text) / 200_000 - 1) < 0.006
    assert seconds < 5 and peak < 30_000_000


def test_sources(tmp_path: Path) -> None:
    assert load("noise").paragraphs == (NOISE,)
    assert len(load("pydoc").paragraphs) > 1_000
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.TXT").write_bytes(b"Third.  \r\n \t\r\n   Fourth\r\nline.\r\n\r\n")
    (tmp_path / "a.md").write_bytes("\ufeff\n\n# Erste Größe\n\n\n\n  \nSecond\n".encode())
    (tmp_path / "c.py").write_text("no text")
    found = load(str(tmp_path)).paragraphs
    assert found == ("# Erste Größe", "Second", "Third.", "   Fourth\nline.")
    assert load(str(tmp_path / "c.py")).paragraphs == ("no text",)
    for name in ("pydoc", str(tmp_path)):
        for paragraph in load(name).paragraphs:
            assert paragraph == paragraph.rstrip() and not any(not line.strip() for line in paragraph.split("\n"))


def test_what_is_no_haystack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no haystack"):
        load(str(tmp_path / "missing"))
    with pytest.raises(InputError, match="holds no text"):
        load(str(tmp_path))
    (tmp_path / "empty.txt").write_text(" \n\n \t\n")
    with pytest.raises(InputError, match="holds no text"):
        load(str(tmp_path / "empty.txt"))
    (tmp_path / "latin.txt").write_bytes(b"abc\xff")
    with pytest.raises(InputError, match=r"latin\.txt is not UTF-8 \(byte 3\)"):
        load(str(tmp_path / "latin.txt"))


def unplanted(text: str, spans: np.ndarray, original: str) -> list[int]:
    """Where the planted things stood in the original, found by leaving them out, and a separator or none at each side."""
    order = np.argsort(spans[:, 0], kind="stable")
    edges = [0, *spans[order].ravel().tolist(), len(text)]
    between = [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
    for added in product(("", " ", "\n", "\n\n"), repeat=2 * len(order)):
        parts, befores, afters = between.copy(), added[::2], added[1::2]
        for index, (before, after) in enumerate(zip(befores, afters, strict=True)):
            if not parts[index].endswith(before):
                break
            parts[index] = parts[index].removesuffix(before)
            if not parts[index + 1].startswith(after):
                break
            parts[index + 1] = parts[index + 1].removeprefix(after)
        else:
            if "".join(parts) == original:
                places = np.cumsum([len(part) for part in parts[:-1]])
                return [int(places[rank]) for rank in np.argsort(order)]
    raise AssertionError(f"{original!r} is not what is left of {text!r}")


@pytest.mark.parametrize("unit", UNITS)
def test_planted_things_come_before_units_and_leave_the_rest_as_it_was(odd_text: st.SearchStrategy[str], unit: Unit) -> None:
    @given(odd_text, st.lists(DEPTHS, min_size=1, max_size=2))
    def check(original: str, depths: list[float]) -> None:
        planted = [f"Needle {number} is here." for number in range(len(depths))]
        text, spans = plant(original, list(zip(depths, planted, strict=True)), unit)
        assert [text[start:end] for start, end in spans.tolist()] == planted
        starts = segment(original, unit)[:, 0].tolist()
        for depth, place in zip(depths, unplanted(text, spans, original), strict=True):
            asked = round(len(original) * depth / 100)
            later = [start for start in starts if start >= asked]
            upper = [start for start in later if not original[start].islower()]
            following = (upper or later or [len(original)])[0] if asked else 0
            assert original[min(place, following) : max(place, following)].strip() == ""

    check()


def test_by_hand() -> None:
    text = "One is first. Two follows.\n\nThree\n  Four\nFive"
    planted = [(50.0, "B."), (20.0, "A."), (0.0, "Z."), (100.0, "C."), (50.0, "D.")]
    assert plant(text, planted)[0] == "Z.\nOne is first. A. Two follows.\n\nB.\nD.\nThree\n  Four\nFive\nC."
    assert plant(text, planted, "line")[0] == "Z.\nOne is first. Two follows.\n\nA.\nB.\nD.\nThree\n  Four\nFive\nC."
    many = "Z.\n\nOne is first. Two follows.\n\nA.\n\nB.\n\nD.\n\nThree\n  Four\nFive\n\nC."
    assert plant(text, planted, "paragraph")[0] == many
    assert plant(text, [(80.0, "X.")], "line")[0] == "One is first. Two follows.\n\nThree\nX.\n  Four\nFive"
    wrapped = "The value that is returned then may be\nof any kind.\nIt is new."  # short lines: taken for lines of their own
    assert plant(wrapped, [(20.0, "X.")])[0] == wrapped.replace("It", "X.\nIt")
    assert plant("one\ntwo\nthree", [(20.0, "X.")])[0] == "one\nX.\ntwo\nthree"
    assert plant("中文。好！", [(50.0, "X。")])[0] == "中文。 X。 好！"
    assert plant("", [(30.0, "X."), (0.0, "Y.")])[0] == "Y.\nX."


def test_depths_are_met_in_long_texts() -> None:
    sentences = [f"Sentence {number} of many is told here." for number in range(3_000)]
    for between in (" ", "\n", "\n\n"):
        text = between.join(sentences)
        depths = [0, 12.5, 50, 99, 100]
        long, spans = plant(text, [(depth, "It hides here.") for depth in depths])
        assert np.abs(spans[:, 0] / len(long) * 100 - depths).max() < 0.1
        assert [long[start:end] for start, end in segment(long, "sentence").tolist()].count("It hides here.") == len(depths)


def test_where_no_unit_starts_it_stands_at_the_end() -> None:
    text = "word " * 5_000
    long, [[start, end]] = plant(text, [(50.0, "X.")])
    assert (start, end) == (len(long) - 2, len(long)) and long == text + "\nX."


def test_things_of_one_depth_keep_their_order() -> None:
    _, spans = plant("A. B. C.", [(50.0, f"N{number}.") for number in range(5)])
    assert all(end <= start for (_, end), (start, _) in pairwise(spans.tolist()))
