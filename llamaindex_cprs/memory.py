"""CPRSMemory: any memory of LlamaIndex, with long messages compressed when they enter it."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Any, Literal

from llama_index.core import memory as memories
from llama_index.core.base.llms.types import ChatMessage, TextBlock
from llama_index.core.memory import BaseMemory, Memory
from pydantic import Field, PrivateAttr, SerializeAsAny, field_validator

from cprs_core.chat.options import AgentOptions
from cprs_core.chat.shrink import Plan, Shrinker
from cprs_core.errors import InputError

from .shortener import shortener, with_texts


class CPRSMemory(BaseMemory, AgentOptions):
    """Compresses long messages once, when they enter the memory: they stay in the same words from then on, so that the
    provider's prompt cache stays valid.

    The query is the latest question of the conversation; where it is asked in the long message itself, it stays there word
    for word. JSON and blocks that are no text are left alone. Emits :class:`TextCompressionStartEvent` and
    :class:`TextCompressionEndEvent`.

    ``await agent.run(user_msg="...", memory=CPRSMemory(max_tokens=500))``

    Args:
        memory: the memory that keeps the messages; None = ``Memory.from_defaults()``.
        roles: whose messages are compressed. An agent sends a tool's output to the LLM before it enters the memory, so
            outputs are better compressed with :func:`compress_tool`. ``("user", "tool")`` is for tools that are not: what
            both compress is compressed twice.
        options: see :class:`~cprs_core.chat.options.AgentOptions`; a budget holds for each message.

    Raises:
        pydantic.ValidationError: an unknown option, one out of range, or two that contradict each other.
    """

    memory: SerializeAsAny[BaseMemory] = Field(default_factory=Memory.from_defaults)
    roles: tuple[Literal["user", "tool"], ...] = ("user",)
    _shrinker: Shrinker = PrivateAttr()
    _done: dict[str, str] = PrivateAttr(default_factory=dict)  # what compressed texts are for, by their hashes

    @field_validator("memory", mode="before")
    @classmethod
    def _revived(cls, value: Any) -> Any:
        """A memory that was turned into a dictionary."""
        if not isinstance(value, dict):
            return value
        kind = getattr(memories, str(value.get("class_name")), None)
        if not (isinstance(kind, type) and issubclass(kind, BaseMemory)):
            raise InputError(f"{value.get('class_name')!r} is no memory of llama_index.core; pass the memory as an object")
        return kind.from_dict(dict(value))

    def model_post_init(self, context: Any) -> None:
        """Makes what compresses."""
        super().model_post_init(context)
        self._shrinker = Shrinker(shortener(self, "message"))

    @classmethod
    def class_name(cls) -> str:
        return "CPRSMemory"

    @classmethod
    def from_defaults(cls, memory: BaseMemory | None = None, **options: Any) -> CPRSMemory:
        """The same as the class itself."""
        return cls(memory=memory or Memory.from_defaults(), **options)

    def get(self, input: str | None = None, **kwargs: Any) -> list[ChatMessage]:
        """The messages to send."""
        return self.memory.get(input=input, **kwargs)

    async def aget(self, input: str | None = None, **kwargs: Any) -> list[ChatMessage]:
        """:meth:`get`."""
        return await self.memory.aget(input=input, **kwargs)

    def get_all(self, **kwargs: Any) -> list[ChatMessage]:
        """All messages."""
        return self.memory.get_all(**kwargs)

    async def aget_all(self, **kwargs: Any) -> list[ChatMessage]:
        """:meth:`get_all`."""
        return await self.memory.aget_all(**kwargs)

    def put(self, message: ChatMessage) -> None:
        """Adds a message."""
        self.put_messages([message])

    async def aput(self, message: ChatMessage) -> None:
        """:meth:`put`; the event loop stays free."""
        await self.aput_messages([message])

    def put_messages(self, messages: list[ChatMessage]) -> None:
        """Adds messages."""
        self.memory.put_messages(self._compressed(self.memory.get_all(), messages))

    async def aput_messages(self, messages: list[ChatMessage]) -> None:
        """:meth:`put_messages`."""
        await self.memory.aput_messages(await self._acompressed(await self.memory.aget_all(), messages))

    def set(self, messages: list[ChatMessage]) -> None:
        """Replaces all messages."""
        self.memory.set(self._compressed([], messages))

    async def aset(self, messages: list[ChatMessage]) -> None:
        """:meth:`set`."""
        await self.memory.aset(await self._acompressed([], messages))

    def reset(self, **kwargs: Any) -> None:
        """Forgets all messages."""
        self.memory.reset(**kwargs)

    async def areset(self, **kwargs: Any) -> None:
        """:meth:`reset`."""
        await self.memory.areset(**kwargs)

    def _compressed(self, history: list[ChatMessage], messages: list[ChatMessage]) -> list[ChatMessage]:
        plan = self._plan(history, messages)
        self._shrinker.run(plan, self.arguments())
        return self._put_in(plan, len(history), messages)

    async def _acompressed(self, history: list[ChatMessage], messages: list[ChatMessage]) -> list[ChatMessage]:
        plan = await asyncio.to_thread(self._plan, history, messages)
        await self._shrinker.arun(plan, self.arguments())
        return self._put_in(plan, len(history), messages)

    def _plan(self, history: list[ChatMessage], messages: list[ChatMessage]) -> Plan:
        entering = enumerate(messages, len(history))
        among = {number for number, m in entering if m.role.value in self.roles and _hash(m) not in self._done}
        return self._shrinker.plan([self._as_chat(message) for message in (*history, *messages)], among)

    def _as_chat(self, message: ChatMessage) -> dict[str, Any]:
        """A message as chats have it. A compressed one asks what it was compressed for, not all that is left of it."""
        texts = (
            [{"type": "text", "text": asked}]
            if (asked := self._done.get(_hash(message)))
            else [
                {"type": "text", "text": block.text} if isinstance(block, TextBlock) else {"type": block.block_type}
                for block in message.blocks
            ]
        )
        return {"role": message.role.value, "content": texts}

    def _put_in(self, plan: Plan, offset: int, messages: list[ChatMessage]) -> list[ChatMessage]:
        """Copies of messages as they are sent."""
        entering = list(messages)
        for number, sent in plan.sent.items():
            if sent.texts:
                message = messages[number - offset]
                shorter = message.model_copy(update={"blocks": with_texts(message.blocks, sent.texts)})
                self._done[_hash(shorter)] = sent.note["query"]
                entering[number - offset] = shorter
        return entering


def _hash(message: ChatMessage) -> str:
    texts = [block.text for block in message.blocks if isinstance(block, TextBlock)]
    return sha256("\n\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
