"""Tasks from plain text: forms against examples, keywords against brute force."""

from __future__ import annotations

import random

import pytest

from cprs_core.training.plain import FORMS, by_form, by_keywords

TEXT = (
    "On 3 March 1871 the harbour opened. It cost $3.5 million, or 12% of what the town had. Ships came from Chile at"
    " 5:30 pm. Write to ann.lee@port.org or see https://port.org/a?b=1. NATO came in 1999. “It rained,” said Ann. "
)
FOUND = {
    "dates": ["3 March 1871"],
    "years": ["1871", "1999"],
    "numbers": ["3", "1871", "3.5", "12", "1999"],
    "percentages": ["12%"],
    "amounts of money": ["$3.5 million"],
    "quotations": ["“It rained,”"],
    "acronyms": ["NATO"],
    "times of day": ["5:30 pm"],
    "email addresses": ["ann.lee@port.org"],
    "links": ["https://port.org/a?b=1"],
}


@pytest.mark.parametrize("name", FORMS)
def test_forms(name: str) -> None:
    assert FORMS[name].findall(TEXT) == FOUND[name]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("May 5, 1999 and June 1, the 4th of July and 2024-05-06.", ["May 5, 1999", "June 1", "4th of July", "2024-05-06"]),
        ("He may march in june. Mayor Mars came.", []),
        ("Sept. 3, 2001; 12/31/99", ["Sept. 3, 2001", "12/31/99"]),
    ],
)
def test_dates(text: str, expected: list[str]) -> None:
    assert FORMS["dates"].findall(text) == expected


def test_a_form_is_found_everywhere_or_its_sentences_are() -> None:
    seen = set()
    for seed in range(80):
        task = by_form(random.Random(seed), TEXT * 3)
        assert task is not None
        name = next(name for name in sorted(FORMS, key=len, reverse=True) if name in task.query)
        pieces = [task.text[start:end] for start, end, _ in task.spans]
        seen.add((name, task.kind))
        if task.kind == "entities":
            assert pieces == FORMS[name].findall(task.text)
        else:
            assert pieces and all(FORMS[name].search(piece) and piece[-1] in ".”" for piece in pieces)
    assert len(seen) > 12
    assert by_form(random.Random(0), "nothing of the kind") is None


def test_keywords_are_from_the_sentences_that_matter_and_from_no_other() -> None:
    for seed in range(40):
        task = by_keywords(random.Random(seed), TEXT, frozenset({"harbour"}))
        assert task is not None and task.spans
        words = task.query.lower().split()
        assert len(words) >= 3 and "harbour" not in words
        for start, end, _ in task.spans:
            assert all(word in task.text[start:end].lower() for word in words)
    assert by_keywords(random.Random(0), "Too short. All of it.") is None
