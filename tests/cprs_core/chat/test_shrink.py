"""What is sent in place of the messages of a request, whatever they are."""

from __future__ import annotations

import copy
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from words import KEPT, LONG, Failing, WordCompressor

from cprs_core import ContextCompressor
from cprs_core.chat.shorten import NOTHING, Shortener
from cprs_core.chat.shrink import Shrinker


def user(content):
    return {"role": "user", "content": content}


def tool(content):
    return {"role": "tool", "tool_call_id": "1", "content": content}


def shrinker(compressor=None, **options):
    compressor = compressor or WordCompressor()
    return Shrinker(Shortener(lambda: compressor, 20, **options))


def sent(shrinker, messages, keep_recent=0, **limits):
    plan = shrinker.plan(messages, range(len(messages) - keep_recent))
    shrinker.run(plan, limits)
    return plan.messages, plan.statistics


async def test_the_same_asynchronously():
    compressor = WordCompressor()
    messages = [QUESTION, tool(LONG), user(f"{LONG * 8}\n\nWhen?"), tool('{"a": "' + LONG + '"}')]
    one, other = shrinker(), shrinker(compressor)
    expected = one.plan(messages, range(9))
    one.run(expected, {"max_tokens": 9})
    plan = other.plan(messages, range(9))
    await other.arun(plan, {"max_tokens": 9})
    assert (plan.messages, plan.statistics, plan.sent) == (expected.messages, expected.statistics, expected.sent)
    assert all(call["asynchronous"] for call in compressor.calls) and len(compressor.calls) == 2


QUESTION = user("Who?")


def test_a_long_message_is_compressed():
    compressor = WordCompressor()
    messages, done = sent(shrinker(compressor), [QUESTION, tool(LONG)], max_tokens=9)
    assert messages == [QUESTION, tool(KEPT)]
    assert (done.status, done.messages, done.input_tokens, done.kept_tokens) == ("compressed", 1, len(LONG.split()), 4)
    call = compressor.calls[0]
    assert (call["query"], call["max_tokens"]) == ("Who?", 9)


def test_the_question_of_a_long_message_stays_where_it_is():
    messages, _ = sent(shrinker(), [user(f"{LONG * 8}\n\nWho?\n")])
    assert messages == [user(" ".join([KEPT] * 8) + "\n\nWho?\n")]


def test_what_is_no_text_stays():
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    parts = [
        {"type": "text", "text": LONG * 8, "cache_control": {"type": "ephemeral"}},
        image,
        {"type": "text", "text": "Who?"},
    ]
    before = copy.deepcopy(parts)
    messages, _ = sent(shrinker(), [user(parts)])
    assert parts == before
    assert messages[0]["content"][0] == {**before[0], "text": " ".join([KEPT] * 8)}
    assert messages[0]["content"][1:] == before[1:]


def test_nothing_kept_is_marked():
    messages, done = sent(shrinker(), [QUESTION, tool("Nothing of it. " * 20)])
    assert messages[1]["content"] == NOTHING
    assert (done.input_tokens, done.kept_tokens) == (60, 2)


@pytest.mark.parametrize("text", ['{"a": "' + LONG + '"}', "word. " * 5, "keep it. " * 10])
def test_json_short_texts_and_what_would_not_get_shorter_stay(text):
    messages, done = sent(shrinker(), [QUESTION, tool(text)])
    assert messages == [QUESTION, tool(text)]
    assert (done.status, done.messages) == ("off", 0)


def test_words_stay_the_same_while_the_conversation_grows():
    compressor = WordCompressor()
    proxy = shrinker(compressor)
    messages, previous, calls = [user("Who?")], [], 0
    for turn in range(4):
        messages += [{"role": "assistant", "content": f"{turn}"}, tool(f"{LONG} Also keep {turn}."), user(f"And {turn}?")]
        out, done = sent(proxy, messages)
        assert out[: len(previous)] == previous
        assert done.status == "compressed" and len(compressor.calls) == calls + 1
        assert compressor.calls[-1]["query"] == f"And {turn}?"
        previous, calls = out, len(compressor.calls)
        assert sent(proxy, messages)[1].status == "cached"
    assert all(KEPT in message["content"] for message in previous if message["role"] == "tool")


def test_what_came_without_a_question_stays_whole():
    proxy = shrinker()
    assert sent(proxy, [user(LONG * 9)])[0] == [user(LONG * 9)]
    assert sent(proxy, [user(LONG * 9), QUESTION])[0] == [user(LONG * 9), QUESTION]
    assert sent(shrinker(), [user(LONG * 9), QUESTION])[1].status == "compressed"


def test_another_conversation_has_its_own_words():
    compressor = WordCompressor()
    proxy = shrinker(compressor)
    for question in ("Who?", "When?"):
        sent(proxy, [tool(LONG), user(question)])
    plan = proxy.plan([tool(LONG), user("Who?")], range(2), b"another key")
    assert [call["query"] for call in compressor.calls] == ["Who?", "When?"] and plan.new


def test_recent_messages_stay_until_they_are_old():
    proxy = shrinker()
    conversation = [QUESTION, tool(LONG)]
    assert sent(proxy, conversation, 2)[0] == conversation
    assert sent(proxy, [*conversation, user("So?")], 2)[0] == [*conversation, user("So?")]
    assert sent(proxy, [*conversation, user("So?"), user("And?")], 2)[0][1] == tool(KEPT)


def test_what_fails_stays_whole_for_good(caplog):
    failing = shrinker(Failing())
    conversation = [QUESTION, tool(LONG)]
    with caplog.at_level(logging.INFO):
        messages, done = sent(failing, conversation)
    assert messages == conversation and done.status == "failed" and done.messages == 0
    assert caplog.messages == ["compression failed: RuntimeError"]
    assert failing.plan(conversation, range(2)).new == []
    with pytest.raises(RuntimeError):
        sent(shrinker(Failing(), on_error="raise"), conversation)


def test_messages_nested_too_deeply_stay_whole():
    deep = []
    for _ in range(2_000):
        deep = [deep]
    conversation = [QUESTION, {**tool(LONG), "extra": deep}]
    messages, done = sent(shrinker(), conversation)
    assert messages[1]["content"] == LONG and done.status == "failed"


def test_halves_of_surrogate_pairs_are_no_trouble():
    messages, _ = sent(shrinker(), [user("Who \ud83d?"), tool("\ud83d " * 30 + LONG)])
    assert messages[1]["content"].startswith("\ud83d") or KEPT in messages[1]["content"]


def _sizes(value):
    """The texts of a value, with all that is not text left in."""
    return [len(text) for text in _texts(value)]


def _texts(value):
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in items for text in _texts(item)]


def _shape(value):
    if isinstance(value, dict):
        return {
            key: "" if key in ("text", "content") and isinstance(part, str) else _shape(part) for key, part in value.items()
        }
    return [_shape(part) for part in value] if isinstance(value, list) else value


def conversations(odd_text):
    words = st.sampled_from([LONG, LONG * 9, "Who?", f"{LONG * 9}\n\nWho?", '{"a": 1}', "keep. " * 30, ""]) | odd_text
    text = st.lists(words, min_size=1, max_size=3).map("\n".join)
    part = st.fixed_dictionaries({"type": st.just("text"), "text": text})
    image = st.just({"type": "image", "source": {"type": "base64", "data": LONG}})
    result = st.fixed_dictionaries(
        {"type": st.just("tool_result"), "tool_use_id": st.just("t"), "content": text | st.lists(part | image, max_size=2)}
    )
    content = text | st.lists(part | image | result, max_size=3)
    roles = st.sampled_from(["system", "user", "user", "assistant", "tool"])
    return st.lists(st.fixed_dictionaries({"role": roles, "content": content}), max_size=5)


@pytest.mark.parametrize("real", [False, True])
def test_nothing_grows_and_all_else_stays(odd_text, tiny, real):
    compressor = ContextCompressor(tiny, window_size=4096) if real else WordCompressor()

    @settings(max_examples=15 if real else 100)
    @given(conversations(odd_text), st.sampled_from([{}, {"ratio": 0.3}, {"max_tokens": 5}]))
    def check(messages, limits):
        before = copy.deepcopy(messages)
        out, done = sent(shrinker(compressor), messages, **limits)
        assert messages == before and done.status != "failed"
        assert _shape(out) == _shape(messages)
        assert all(new <= old for new, old in zip(_sizes(out), _sizes(messages), strict=True))
        assert all(text or not old for text, old in zip(_texts(out), _texts(messages), strict=True))
        assert [m for m in out if m["role"] in ("system", "assistant")] == [
            m for m in messages if m["role"] in ("system", "assistant")
        ]
        assert done.kept_tokens <= done.input_tokens

    check()
