"""CPRSMemory around LlamaIndex's own memories, alone and in an agent, over a fake compressor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from agents import scripted_llm
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.memory import BaseMemory, ChatMemoryBuffer, Memory
from pydantic import ValidationError
from words import KEPT, LONG, Failing, WordCompressor

from cprs_core.chat.references import References
from llamaindex_cprs import CPRSMemory

both = pytest.mark.parametrize("asynchronous", [False, True])
kinds = pytest.mark.parametrize("kind", [Memory.from_defaults, ChatMemoryBuffer.from_defaults])
ASKED = f"{LONG * 9}\n\nWho?"
SHORT = " ".join([KEPT] * 9) + "\n\nWho?"


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def do(memory: BaseMemory, asynchronous: bool, name: str, *args: Any) -> Any:
    return asyncio.run(getattr(memory, f"a{name}")(*args)) if asynchronous else getattr(memory, name)(*args)


@both
@kinds
def test_long_messages_are_compressed_when_they_enter(
    words: WordCompressor, kind: Callable[[], BaseMemory], asynchronous: bool
) -> None:
    memory = CPRSMemory(memory=kind(), compressor=words, min_tokens=20)
    given = user(ASKED)
    do(memory, asynchronous, "put", given)
    do(memory, asynchronous, "put_messages", [ChatMessage(role="assistant", content=LONG), user("So?")])
    expected = [SHORT, LONG, "So?"]
    assert [m.content for m in do(memory, asynchronous, "get")] == expected
    assert [m.content for m in do(memory, asynchronous, "get_all")] == expected
    assert [m.content for m in memory.memory.get_all()] == expected
    assert given.content == ASKED
    assert [call["query"] for call in words.calls] == ["Who?"]
    assert words.calls[0].get("asynchronous", False) is asynchronous
    do(memory, asynchronous, "reset")
    assert memory.get_all() == []


@both
def test_what_was_compressed_never_is_again(words: WordCompressor, asynchronous: bool) -> None:
    memory = CPRSMemory(
        memory=ChatMemoryBuffer.from_defaults(), compressor=words, min_tokens=3
    )  # KEPT itself is long by this
    do(memory, asynchronous, "put", user(ASKED))
    compressed = memory.get_all()
    do(memory, asynchronous, "set", [*compressed, user("So?")])
    assert memory.get_all()[0] == compressed[0] and len(words.calls) == 1
    for _ in range(2):  # the caller keeps the original
        do(memory, asynchronous, "set", [user(ASKED), user("So?")])
        assert memory.get_all()[0] == compressed[0]
    assert len(words.calls) == 1


@both
def test_the_question_is_that_of_the_conversation(words: WordCompressor, asynchronous: bool) -> None:
    memory = CPRSMemory(memory=ChatMemoryBuffer.from_defaults(), compressor=words, min_tokens=20)
    for message in (user(ASKED), user(LONG * 9)):  # the second asks nothing
        do(memory, asynchronous, "put", message)
    assert [call["query"] for call in words.calls] == ["Who?", "Who?"]
    lonely = CPRSMemory(memory=ChatMemoryBuffer.from_defaults(), compressor=words, min_tokens=20)
    do(lonely, asynchronous, "put", user(LONG * 9))
    assert lonely.get_all()[0].content == LONG * 9


@both
def test_tools_only_if_asked(words: WordCompressor, asynchronous: bool) -> None:
    for roles, expected in ((("user",), LONG), (("user", "tool"), KEPT)):
        memory = CPRSMemory(memory=ChatMemoryBuffer.from_defaults(), roles=roles, compressor=words, min_tokens=20)
        do(memory, asynchronous, "put_messages", [user("Who?"), ChatMessage(role="tool", content=LONG)])
        assert memory.get_all()[1].content == expected


@both
def test_other_blocks_and_fields_stay(words: WordCompressor, asynchronous: bool) -> None:
    image = ImageBlock(url="http://a/b.png")
    message = ChatMessage(role="user", blocks=[TextBlock(text=LONG * 9), image, TextBlock(text="Who?")])
    message.additional_kwargs["a"] = 1
    memory = CPRSMemory(memory=ChatMemoryBuffer.from_defaults(), compressor=words, min_tokens=20)
    do(memory, asynchronous, "put", message)
    (entered,) = memory.get_all()
    assert entered.blocks == [TextBlock(text=" ".join([KEPT] * 9)), image, TextBlock(text="Who?")]
    assert entered.additional_kwargs == {"a": 1}


@both
def test_a_failure_lets_the_original_through_or_raises(asynchronous: bool) -> None:
    memory = CPRSMemory(memory=ChatMemoryBuffer.from_defaults(), compressor=Failing(), min_tokens=20)
    do(memory, asynchronous, "put", user(ASKED))
    assert memory.get_all()[0].content == ASKED
    memory = CPRSMemory(compressor=Failing(), min_tokens=20, on_error="raise")
    with pytest.raises(RuntimeError):
        do(memory, asynchronous, "put", user(ASKED))


def test_originals_are_stored(words: WordCompressor) -> None:
    store: dict[str, str] = {}
    memory = CPRSMemory(memory=ChatMemoryBuffer.from_defaults(), compressor=words, min_tokens=20, store=store)
    memory.put(user(ASKED))
    assert store == {References.key(ASKED): ASKED}
    assert References.key(ASKED) in str(memory.get_all()[0].content)


def test_it_is_rebuilt_from_its_dictionary(tiny_options: dict[str, Any]) -> None:
    memory = CPRSMemory.from_defaults(ChatMemoryBuffer.from_defaults(token_limit=77), **tiny_options, min_tokens=9)
    again = CPRSMemory.from_dict(memory.to_dict())
    assert again.to_dict() == memory.to_dict()
    assert again.min_tokens == 9 and isinstance(again.memory, ChatMemoryBuffer) and again.memory.token_limit == 77
    with pytest.raises(ValidationError, match="no memory"):
        CPRSMemory(memory={"class_name": "BaseModel"})  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"max_token": 5}, {"roles": ("assistant",)}, {"max_tokens": 5, "ratio": 0.5}])
def test_bad_options_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CPRSMemory(**options)


@kinds
@pytest.mark.parametrize("history", [False, True])
def test_an_agent_sends_the_same_words_turn_after_turn(
    words: WordCompressor, kind: Callable[[], BaseMemory], history: bool
) -> None:
    sent: list[list[ChatMessage]] = []
    answers = [ChatMessage(role="assistant", content=f"{n}.") for n in range(3)]
    agent = FunctionAgent(llm=scripted_llm(answers, sent), tools=[])
    memory = CPRSMemory(memory=kind(), compressor=words, min_tokens=20)

    async def run() -> None:
        talk: list[ChatMessage] = []
        for n, text in enumerate((ASKED, f"{LONG * 12}\n\nWhen?", "So?")):
            kept = {"chat_history": list(talk)} if history and talk else {}  # the caller keeps the originals
            await agent.run(user_msg=text, memory=memory, **kept)
            talk += [user(text), answers[n]]

    asyncio.run(run())
    texts = [[message.content for message in messages] for messages in sent]
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(texts))
    assert texts[-1][:3:2] == [SHORT, " ".join([KEPT] * 12) + "\n\nWhen?"] and texts[-1][-1] == "So?"
    assert {call["query"] for call in words.calls} == {"Who?", "When?"}


@both
def test_in_a_chat_engine(words: WordCompressor, asynchronous: bool) -> None:
    sent: list[list[ChatMessage]] = []
    llm = scripted_llm([ChatMessage(role="assistant", content="Ann.")] * 2, sent)
    memory = CPRSMemory(memory=ChatMemoryBuffer.from_defaults(), compressor=words, min_tokens=20)
    engine = SimpleChatEngine(llm=llm, memory=memory, prefix_messages=[])
    answer = asyncio.run(engine.achat(ASKED)) if asynchronous else engine.chat(ASKED)
    assert str(answer) == "Ann." and [message.content for message in sent[0]] == [SHORT]
