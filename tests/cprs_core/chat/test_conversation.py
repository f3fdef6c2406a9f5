"""Which messages are compressed for which question, and under which keys they are remembered."""

from __future__ import annotations

from words import LONG

from cprs_core.chat.conversation import candidates, prefix_hashes
from cprs_core.chat.memory import Memory, Sent


def user(text):
    return {"role": "user", "content": text}


def assistant(text="Ok."):
    return {"role": "assistant", "content": text}


def tool(text=LONG):
    return {"role": "tool", "tool_call_id": "1", "content": text}


SYSTEM = {"role": "system", "content": LONG * 10}


def chosen(*messages, among=range(9)):
    question, found = candidates(messages, 20, among, b"")
    return question, [candidate.index for candidate in found]


def test_long_messages_of_users_and_tools_for_the_latest_question():
    messages = [SYSTEM, user("Who?"), assistant(LONG), tool(), user("When?"), assistant(), tool(), tool("Short.")]
    assert chosen(*messages) == ("When?", [3, 6])
    assert chosen(*messages, among=range(6)) == ("When?", [3])
    assert chosen(*messages, among=[]) == ("When?", [])


def test_there_may_be_no_question_and_no_message():
    assert chosen(SYSTEM, tool()) == ("", [1])
    assert chosen() == ("", [])
    assert chosen(None, 3, [], {"role": "user"}, {"role": "user", "content": 5}) == ("", [])


def test_the_question_in_a_message_stays():
    text = f"{LONG * 9}\n\nWho?"
    (candidate,) = candidates([user(text)], 20, [0], b"")[1]
    assert candidate.words == [text]
    assert {number: text[slice(*stays)].strip() for number, stays in candidate.stays.items()} == {0: "Who?"}


def test_the_hash_of_a_prefix_sees_what_users_and_tools_say():
    base = prefix_hashes([user("a"), assistant(), tool("b")], b"")
    assert len({*base}) == 2 and base[0] == base[1]
    assert prefix_hashes([user("a"), assistant("Other."), tool("b")], b"") == base
    assert prefix_hashes([user([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}])], b"") == base[:1]
    for other in (prefix_hashes([user("b")], b""), prefix_hashes([user("a")], b"key"), prefix_hashes([tool("a")], b"")):
        assert other != base[:1]


def test_a_message_is_found_again_while_its_question_is_there():
    def keys(*messages):
        found = candidates(messages, 20, range(9), b"")[1][0]
        return {*found.keys}, found.key

    document = tool()
    start = [document, user("Who?")]
    _, key = keys(*start)
    assert key in keys(*start, assistant(), user("When?"))[0]
    assert key not in keys(document, user("When?"))[0]
    _, key = keys(user("Who?"), document)
    assert key in keys(user("Who?"), document, assistant(), user("When?"))[0]
    assert key not in keys(user("When?"), document)[0]


def test_the_memory_forgets_what_was_used_least_recently():
    memory = Memory(3 * Sent(("x" * 500,)).size)
    for name in "abc":
        memory.remember(name, Sent((name * 500,)))
    assert memory.get(iter(["?", "a"])) == Sent(("a" * 500,))
    memory.remember("d", Sent(("d" * 500,)))
    assert [name for name in "abcd" if memory.get([name])] == ["a", "c", "d"]
    assert memory.remember("a", Sent(("other",))) == Sent(("a" * 500,))
    memory.remember("big", Sent(("x" * 10_000,)))
    assert not memory.get(["big", "a"])
