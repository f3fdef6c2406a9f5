"""Messages in, the same messages with their long texts compressed out: for programs that call a provider themselves.

>>> messages, done = compress_messages(messages, max_tokens=800)  # doctest: +SKIP
>>> client.chat.completions.create(model="gpt-5", messages=messages)  # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ..adapters import LIMITS, parse_instruction
from ..budget import check_budget
from ..errors import InputError
from ..instruction import Instruction, check_text
from .shorten import ChatCompressor, OnError, Shortener
from .shrink import MEMORY, Plan, Shrinker, Statistics


class MessageCompressor:
    """Compresses the long messages of users and tools for the question that is asked, and sends them in the same words from
    then on, so that the provider's prompt cache stays valid. Keep one for all turns of a conversation, or for a whole
    service. Safe to use from many threads.

    Messages are those of OpenAI's chat completions or Anthropic's messages. System messages, the assistant's, questions,
    JSON, images and whatever is no text stay as they are.

    Args:
        compressor: a :class:`~cprs_core.ContextCompressor` or a :class:`~cprs_core.CprsClient`; None = the default model,
            loaded on first use and shared in the process.
        instruction: what to keep: the name of a preset, plain words, or an :class:`~cprs_core.Instruction`.
        max_tokens, ratio, threshold: how much to keep of a message; none = the model decides.
        min_tokens: messages of at least so many tokens are compressed.
        keep_recent: so many of the last messages stay whole.
        on_error: when compression fails, ``"raise"`` raises, ``"original"`` leaves the message whole, says ``failed`` in
            the statistics and writes a warning to the log.
        memory: bytes of compressed messages to remember.

    Raises:
        InputError: an option out of range.
    """

    def __init__(
        self,
        compressor: ChatCompressor | None = None,
        *,
        instruction: Instruction | str | None = None,
        max_tokens: int | None = None,
        ratio: float | None = None,
        threshold: float | None = None,
        min_tokens: int = 1_000,
        keep_recent: int = 0,
        on_error: OnError = "raise",
        memory: int = MEMORY,
    ) -> None:
        check_budget(max_tokens, ratio, threshold)
        for name, value, least in (("min_tokens", min_tokens, 1), ("keep_recent", keep_recent, 0), ("memory", memory, 0)):
            if not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be a whole number from {least} on, got {value!r}")
        if on_error not in ("raise", "original"):
            raise InputError(f"on_error must be 'raise' or 'original', got {on_error!r}")
        limits = zip(LIMITS, (max_tokens, ratio, threshold), strict=True)
        given = {name: value for name, value in limits if value is not None}
        self._arguments: dict[str, Any] = {"instruction": parse_instruction(instruction), **given}
        self._compressor, self._keep_recent = compressor, keep_recent
        self._shrinker = Shrinker(Shortener(self._resolved, min_tokens, on_error), memory)

    def compress(
        self, messages: Sequence[Any], query: str | None = None, *, client: str = ""
    ) -> tuple[list[Any], Statistics]:
        """The messages to send, and what was done. The messages given are not changed.

        Args:
            query: what the kept words should help to answer; None = the latest question in the messages.
            client: whose conversation it is, where one compressor serves many who must not learn of each other.

        Raises:
            InputError: what is no list of messages.
        """
        asked = _asked(messages, query)
        plan = self._plan(asked, len(messages), client)
        self._shrinker.run(plan, self._arguments)
        return _answer(messages, asked, plan), plan.statistics

    async def acompress(
        self, messages: Sequence[Any], query: str | None = None, *, client: str = ""
    ) -> tuple[list[Any], Statistics]:
        """:meth:`compress`; the event loop stays free."""
        asked = _asked(messages, query)
        plan = await asyncio.to_thread(self._plan, asked, len(messages), client)
        await self._shrinker.arun(plan, self._arguments)
        return _answer(messages, asked, plan), plan.statistics

    def _plan(self, asked: list[Any], count: int, client: str) -> Plan:
        return self._shrinker.plan(asked, range(count - self._keep_recent), client.encode())

    def _resolved(self) -> ChatCompressor:
        if self._compressor is None:
            from ..compressor import shared

            return shared()
        return self._compressor


def compress_messages(
    messages: Sequence[Any], query: str | None = None, compressor: ChatCompressor | None = None, **options: Any
) -> tuple[list[Any], Statistics]:
    """Compresses the long messages of a conversation once: the messages to send, and what was done.

    For a conversation that goes on, keep a :class:`MessageCompressor`, which sends a message in the same words ever after.

    Args:
        query: what the kept words should help to answer; None = the latest question in the messages.
        compressor, options: see :class:`MessageCompressor`.
    """
    return MessageCompressor(compressor, **options).compress(messages, query)


async def acompress_messages(
    messages: Sequence[Any], query: str | None = None, compressor: ChatCompressor | None = None, **options: Any
) -> tuple[list[Any], Statistics]:
    """:func:`compress_messages`; the event loop stays free."""
    return await MessageCompressor(compressor, **options).acompress(messages, query)


def _asked(messages: Any, query: str | None) -> list[Any]:
    """The messages as they are in JSON, and the query as the latest question."""
    if isinstance(messages, (str, bytes)) or not isinstance(messages, Sequence):
        raise InputError(f"messages must be a list of messages, not {type(messages).__name__}")
    plain = [_plain(number, message) for number, message in enumerate(messages)]
    if query is None:
        return plain
    check_text("query", query)
    if not query.strip():
        raise InputError("the query is empty; ask a question, or leave it out for the one in the messages")
    return [*plain, {"role": "user", "content": query}]


def _plain(number: int, message: Any) -> Any:
    """A message as it is in JSON; those of the providers' own classes are models of pydantic."""
    plain = message.model_dump(mode="json", exclude_none=True) if hasattr(message, "model_dump") else message
    if not isinstance(plain, dict) or "role" not in plain:
        raise InputError(f"messages[{number}] must be a dictionary with role and content, got {type(message).__name__}")
    return plain


def _answer(messages: Sequence[Any], asked: list[Any], plan: Plan) -> list[Any]:
    """What was given, but for what is new."""
    pairs = zip(messages, asked, plan.messages, strict=False)  # the query is no message
    return [given if new is old else new for given, old, new in pairs]
