"""Messages for programs that call a provider themselves."""

from __future__ import annotations

import asyncio
import copy
import subprocess
import sys

import httpx
import pytest
from fakes import running
from hypothesis import given
from hypothesis import strategies as st
from words import KEPT, LONG, Failing, WordCompressor

from cprs_core import BudgetError, CprsClient, InputError, MessageCompressor, acompress_messages, compress_messages


def user(content):
    return {"role": "user", "content": content}


def tool(content=LONG):
    return {"role": "tool", "tool_call_id": "1", "content": content}


SYSTEM = {"role": "system", "content": LONG}
MESSAGES = [SYSTEM, user("Who?"), {"role": "assistant", "content": LONG}, tool()]


async def both(messages, query=None, **options):
    """What the function and its twin give, which is the same."""
    compressors = WordCompressor(), WordCompressor()
    before = copy.deepcopy(messages)
    found = compress_messages(messages, query, compressors[0], min_tokens=20, **options)
    assert await acompress_messages(messages, query, compressors[1], min_tokens=20, **options) == found
    assert messages == before
    for call in compressors[1].calls:
        assert call.pop("asynchronous")
    assert compressors[0].calls == compressors[1].calls
    return (*found, compressors[0].calls)


async def test_long_messages_of_users_and_tools_are_compressed():
    messages, done, calls = await both(MESSAGES, max_tokens=9)
    assert messages == [*MESSAGES[:3], tool(KEPT)]
    assert (done.status, done.messages, done.input_tokens, done.kept_tokens) == ("compressed", 1, len(LONG.split()), 4)
    assert [(call["query"], call["max_tokens"]) for call in calls] == [("Who?", 9)]


async def test_a_query_of_ones_own():
    messages, done, calls = await both([SYSTEM, tool()], "When?", instruction="answer")
    assert messages == [SYSTEM, tool(KEPT)] and done.status == "compressed"
    assert calls[0]["query"] == "When?" and calls[0]["instruction"].unit == "word"
    assert (await both([SYSTEM, tool()]))[0] == [SYSTEM, tool()]  # there is no question


async def test_recent_messages_stay_whole():
    for query in (None, "When?"):
        messages, _, _ = await both([user("Who?"), tool(), tool()], query, keep_recent=1)
        assert messages == [user("Who?"), tool(KEPT), tool()]


async def test_messages_of_the_providers_own_classes():
    from anthropic.types import Message
    from openai.types.chat import ChatCompletionMessage

    openai = ChatCompletionMessage.model_validate({"role": "assistant", "content": LONG})
    anthropic = Message.model_validate(
        {"id": "1", "model": "m", "role": "assistant", "type": "message", "content": [{"type": "text", "text": LONG}],
         "usage": {"input_tokens": 1, "output_tokens": 1}, "stop_reason": None, "stop_sequence": None}
    )  # fmt: skip
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": LONG}]}
    blocks = {"role": "assistant", "content": anthropic.content}
    given = [user("Who?"), openai, blocks, anthropic, result]
    messages, done = compress_messages(given, compressor=WordCompressor(), min_tokens=20)
    assert messages[1] is openai and messages[2] is blocks and messages[3] is anthropic
    assert messages[4]["content"][0]["content"] == KEPT and done.messages == 1


async def test_words_stay_the_same_in_a_conversation_that_goes_on():
    compressor = WordCompressor()
    keeper = MessageCompressor(compressor, min_tokens=20)
    messages, previous = [user("Who?")], []
    for turn in range(3):
        messages += [{"role": "assistant", "content": f"{turn}"}, tool(f"{LONG} Also keep {turn}."), user(f"And {turn}?")]
        out, done = keeper.compress(messages) if turn % 2 else await keeper.acompress(messages)
        assert out[: len(previous)] == previous and done.status == "compressed" and len(compressor.calls) == turn + 1
        assert keeper.compress(messages)[1].status == "cached"
        previous = out
    keeper.compress(messages, client="another")
    assert len(compressor.calls) == 6


async def test_errors_are_raised_or_noted(caplog):
    for run in (compress_messages, lambda *a, **b: asyncio.run(acompress_messages(*a, **b))):
        with pytest.raises(RuntimeError, match="cannot read"):
            await asyncio.to_thread(run, MESSAGES, compressor=Failing(), min_tokens=20)
    messages, done = compress_messages(MESSAGES, compressor=Failing(), min_tokens=20, on_error="original")
    assert messages == MESSAGES and done.status == "failed" and "compression failed" in caplog.text


@pytest.mark.parametrize(
    ("messages", "query", "options", "error", "words"),
    [
        ("hello", None, {}, InputError, "must be a list of messages, not str"),
        ({"role": "user"}, None, {}, InputError, "not dict"),
        ([user("a"), "b"], None, {}, InputError, r"messages\[1\] must be a dictionary with role and content, got str"),
        ([{"content": "a"}], None, {}, InputError, r"messages\[0\]"),
        ([], "  ", {}, InputError, "query is empty"),
        ([], 3, {}, InputError, "query must be a string"),
        ([], "\ud800", {}, InputError, "lone surrogate"),
        ([], None, {"max_tokens": 0}, BudgetError, "whole number"),
        ([], None, {"max_tokens": 5, "ratio": 0.5}, BudgetError, "two budgets"),
        ([], None, {"min_tokens": 0}, InputError, "min_tokens must be a whole number from 1 on, got 0"),
        ([], None, {"keep_recent": 0.5}, InputError, "keep_recent"),
        ([], None, {"on_error": "pass"}, InputError, "'raise' or 'original'"),
        ([], None, {"instruction": "sentense"}, InputError, "unknown preset"),
    ],
)
def test_bad_input_is_refused(messages, query, options, error, words):
    with pytest.raises(error, match=words):
        compress_messages(messages, query, WordCompressor(), **options)


async def test_nothing_to_do():
    assert compress_messages([], compressor=WordCompressor())[0] == []
    messages, done, calls = await both([user("Who?"), tool("Short.")])
    assert messages == [user("Who?"), tool("Short.")] and done.status == "off" and calls == []


JSON = st.recursive(
    st.none() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["content", "type", "text"]), inner | st.sampled_from(["text", "tool_result", LONG]), max_size=4
        )
    ),
)


@given(JSON)
def test_any_content_will_do(content):
    given = [user("Who?"), {"role": "user", "content": content}]
    messages, _ = compress_messages(given, compressor=WordCompressor(), min_tokens=20)
    assert len(messages) == 2 and messages[0] == given[0]


def test_a_service_can_do_the_work(compressor, prose):
    from cprs_core.server.app import create_app

    messages = [user("Who owns the house?"), tool(prose)]
    with running(create_app(compressor)) as url, CprsClient(url) as client:
        found = compress_messages(messages, compressor=client, max_tokens=40, min_tokens=20)
        assert httpx.get(f"{url}/health").status_code == 200
    assert found == compress_messages(messages, compressor=compressor, max_tokens=40, min_tokens=20)
    assert found[1].kept_tokens <= 40


def test_importing_it_needs_no_extra_and_no_torch():
    code = "import sys; from cprs_core import compress_messages; "
    code += "print({'torch', 'pydantic', 'fastapi', 'httpx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
