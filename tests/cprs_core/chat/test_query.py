"""What a tool was asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cprs_core.chat.messages import QUESTION
from cprs_core.chat.query import last_question, tool_query

LONG = "It was a long day and nothing much happened in it. " * 40


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ({}, []),
        ({"query": "the lease\n of the house"}, ["the lease of the house"]),
        ({"path": "a.txt", "limit": 20, "rate": 0.5}, ["a.txt", "20", "0.5"]),
        ({"recursive": True, "none": None, "list": ["a"], "object": {"a": "b"}, "blank": "  "}, []),
        ({"query": "Who paid?"}, []),
        ({"code": "x" * 201, "path": "a.txt"}, ["a.txt"]),
        ({str(n): f"{n}" * 200 for n in range(4)}, ["0" * 200, "1" * 200]),
    ],
)
def test_the_question_and_then_what_the_arguments_say(arguments: dict[str, Any], lines: list[str]) -> None:
    assert tool_query("Who paid?", arguments).split("\n") == ["Who paid?", *lines]


def test_either_may_be_missing() -> None:
    assert tool_query("", {"query": "the lease"}) == "the lease"
    assert tool_query(" Who paid? ", {}) == "Who paid?"
    assert tool_query("", {}) == ""


@given(st.text(max_size=20), st.dictionaries(st.text(max_size=3), st.none() | st.booleans() | st.floats() | st.text()))
def test_a_query_is_short_whatever_the_arguments(question: str, arguments: dict[str, Any]) -> None:
    query = tool_query(question, arguments)
    assert query == query.strip() and len(query) <= len(question) + 500 + len(arguments)


def test_the_last_question_of_users() -> None:
    talk = [
        {"role": "user", "content": "Who?"},
        {"role": "user", "content": f"{LONG}\n\nWhen did it end?"},
        {"role": "assistant", "content": "Why?"},
        {"role": "user", "content": LONG},
        {"role": "tool", "content": "What?"},
    ]
    assert last_question(talk) == "When did it end?"
    assert last_question(talk[2:]) == last_question([]) == ""
    assert len(last_question([{"role": "user", "content": "word " * QUESTION}])) <= QUESTION
