"""Records in other words: what is rewritten, and that spans follow."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from cprs_core.training.augment import restyle, rewrap, swap_answer
from cprs_core.training.splits import Record


def record(context: str, answer: str, query: str = "Who built the old bridge?") -> Record:
    start = context.index(answer)
    spans = [(0, len(context), "evidence"), (start, start + len(answer), "answer")]
    return Record(source="s", query=query, context=context, spans=spans, answers=[answer], doc="d")


def test_queries_keep_their_words() -> None:
    query = "Who was the mayor of Porto when the bridge fell?"
    styles = {restyle(random.Random(seed), query) for seed in range(60)}
    assert "who was the mayor of porto when the bridge fell" in styles and "mayor porto bridge fell" in styles
    assert any(query in style and style != query for style in styles) and query not in styles


def test_an_answer_is_swapped_wherever_it_stands() -> None:
    own = record("Ann Lee built it. Nobody thanked Ann Lee, not even Annabel.", "Ann Lee")
    other = record("Bartholomew Quint did it.", "Bartholomew Quint")
    new = swap_answer(random.Random(0), own, [other])
    assert new["context"] == "Bartholomew Quint built it. Nobody thanked Bartholomew Quint, not even Annabel."
    assert [new["context"][start:end] for start, end, _ in new["spans"]] == [new["context"], "Bartholomew Quint"]
    assert new["answers"] == ["Bartholomew Quint"] and own["context"].startswith("Ann")


def test_what_cannot_be_swapped_stays() -> None:
    own = record("It opened in 1871 and closed later.", "1871", "When did it open?")
    name = record("Ann Lee came.", "Ann Lee")
    assert swap_answer(random.Random(0), own, [name]) == own  # a number is no name
    assert swap_answer(random.Random(0), {**name, "spans": []}, [own]) == {**name, "spans": []}
    asked = record("Ann Lee or Bo?", "Ann Lee", "Was it ann lee or Bo?")
    assert swap_answer(random.Random(0), asked, [record("Cy Dee.", "Cy Dee")]) == asked


@given(st.text(alphabet="ab \n\té.", max_size=400), st.integers(0, 9))
def test_wrapping_changes_spaces_only(text: str, seed: int) -> None:
    wrapped = rewrap(random.Random(seed), text)
    assert len(wrapped) == len(text)
    assert all(a == b or (a, b) == (" ", "\n") for a, b in zip(text, wrapped, strict=True))


def test_wrapped_lines_are_as_wide_as_they_may_be() -> None:
    wrapped = rewrap(random.Random(1), "many words follow each other here " * 30)
    lines = wrapped.rstrip().split("\n")
    assert len(lines) > 5 and max(map(len, lines)) <= 110 and min(map(len, lines[:-1])) >= 40
