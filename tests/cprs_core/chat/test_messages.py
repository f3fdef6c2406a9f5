"""One message: its texts, and the question in it."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cprs_core.chat.messages import QUESTION, Text, find_question, is_json, replace, texts

DOCUMENT = "It was a long day and nothing much happened in it. " * 40
PARAGRAPHS = f"{DOCUMENT}\n\n{DOCUMENT}"


def asked(*parts: str) -> tuple[str, dict[int, str]] | None:
    """The question of a user's message, and what stays for it."""
    question = find_question([Text(("content", n, "text"), part, False) for n, part in enumerate(parts)])
    return question and (question.text, {n: parts[n][start:end] for n, (start, end) in question.ranges.items()})


def test_texts_of_openai():
    assert [t.text for t in texts({"role": "user", "content": "a"})] == ["a"]
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}, {"type": "text", "text": "b"}]
    assert [(t.path, t.text, t.tool) for t in texts({"role": "user", "content": parts})] == [
        (("content", 0, "text"), "a", False),
        (("content", 2, "text"), "b", False),
    ]
    assert [(t.path, t.tool) for t in texts({"role": "tool", "tool_call_id": "1", "content": "a"})] == [(("content",), True)]


def test_texts_of_langchain():
    content = ["a", {"type": "text", "text": "b"}, {"type": "image", "url": "u"}]
    assert [(t.path, t.text) for t in texts({"role": "tool", "content": content})] == [
        (("content", 0), "a"),
        (("content", 1, "text"), "b"),
    ]


def test_texts_of_anthropic():
    result = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "b"}, {"type": "image"}]}
    content = [{"type": "tool_result", "tool_use_id": "0", "content": "a"}, result, {"type": "text", "text": "c"}]
    assert [(t.path, t.text, t.tool) for t in texts({"role": "user", "content": content})] == [
        (("content", 0, "content"), "a", True),
        (("content", 1, "content", 0, "text"), "b", True),
        (("content", 2, "text"), "c", False),
    ]


@pytest.mark.parametrize("role", ["system", "developer", "assistant", "function", None, 3])
def test_other_roles_have_none(role):
    assert texts({"role": role, "content": "a"}) == []


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
       | st.dictionaries(st.sampled_from(["role", "content", "type", "text"]), inner | st.sampled_from(
           ["user", "text", "tool_result"]), max_size=4)))  # fmt: skip
def test_any_shape_will_do(value):
    for text in texts(value):
        assert isinstance(text.text, str)


def test_a_short_message_is_its_own_question():
    assert asked("Who?\n\nWhen?") == ("Who?\n\nWhen?", {0: "Who?\n\nWhen?"})
    assert asked("Be brief.", "Who?") == ("Be brief.\n\nWho?", {0: "Be brief.", 1: "Who?"})


@pytest.mark.parametrize(
    ("parts", "question"),
    [
        ([f"{PARAGRAPHS}\n\nWho paid?"], "Who paid?"),
        ([f"{PARAGRAPHS}\n\nSay who paid.\n"], "Say who paid."),
        ([f"Who paid?\n\n{PARAGRAPHS}"], "Who paid?"),
        ([f"Who paid?\n\n{PARAGRAPHS}\n\nRegards"], "Who paid?"),
        ([f"Read this.\n\n{PARAGRAPHS}\n\nRegards"], "Regards"),
        ([f"Who came?\n\n{PARAGRAPHS}\n\nWho paid?"], "Who paid?"),
        ([f"{DOCUMENT}\nWho paid?"], "Who paid?"),
        ([f"Who paid?\n{DOCUMENT}"], "Who paid?"),
        ([f"{DOCUMENT}Who paid?"], "Who paid?"),
        ([f"谁付的钱？{'没有人知道。' * 300}"], "谁付的钱？"),
        ([DOCUMENT, "Some rules.\n\nWho paid?"], "Some rules.\n\nWho paid?"),
        (["Who paid?", DOCUMENT], "Who paid?"),
        (["Who paid?", DOCUMENT, "  "], "Who paid?"),
    ],
)
def test_the_question_of_a_long_message(parts, question):
    found = asked(*parts)
    assert found and found[0] == question
    assert [kept.strip() for kept in found[1].values()] == [question]


@pytest.mark.parametrize("parts", [[DOCUMENT], [PARAGRAPHS], [f"Read this.\n\n{PARAGRAPHS}"], [" \n "], []])
def test_there_may_be_none(parts):
    assert asked(*parts) is None


def test_tools_ask_nothing():
    assert find_question([Text((), "Who paid?", True)]) is None


def test_what_stays_is_a_range_of_the_text(odd_text):
    @given(st.lists(st.tuples(odd_text, st.sampled_from([1, 30])).map(lambda pair: pair[0] * pair[1]), max_size=3))
    def check(parts):
        question = find_question([Text((), part, False) for part in parts])
        if question is not None:
            assert question.text.strip()
            assert len(question.text) <= QUESTION + 2 * len(parts)
            for number, (start, end) in question.ranges.items():
                assert 0 <= start < end <= len(parts[number])
                assert parts[number][start:end].strip() in question.text

    check()


def test_json_is_what_would_break():
    assert is_json(' {"a": [1, 2]}\n') and is_json("[1]")
    assert not any(map(is_json, ["{a: 1}", '"text"', "3", "[1] It says so.", "[" * 100_000, ""]))


def test_replacing_changes_a_copy():
    message = {"role": "user", "content": [{"type": "text", "text": "a", "x": 1}, {"type": "text", "text": "b"}]}
    before = copy.deepcopy(message)
    changed = replace(message, ("content", 1, "text"), "c")
    assert message == before
    assert changed["content"] == [before["content"][0], {"type": "text", "text": "c"}]
