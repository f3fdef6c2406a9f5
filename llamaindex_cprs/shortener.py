"""The shortener of some options, whose work shows in LlamaIndex's instrumentation; and blocks in other words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llama_index.core.base.llms.types import ContentBlock, TextBlock
from llama_index_instrumentation import get_dispatcher

from cprs_core.chat.memory import Sent
from cprs_core.chat.options import AgentOptions
from cprs_core.chat.shorten import Shortener

from .events import TextCompressionEndEvent, TextCompressionStartEvent

dispatcher = get_dispatcher(__name__)


def shortener(options: AgentOptions, origin: str) -> Shortener:
    """Emits :class:`TextCompressionStartEvent` and :class:`TextCompressionEndEvent`.

    Args:
        origin: what is compressed, for the events.
    """

    def start(query: str, texts: list[str]) -> None:
        event = TextCompressionStartEvent(origin=origin, query=query, texts=texts, model_name=options.model)
        dispatcher.event(event)

    def end(sent: Sent) -> None:
        event = TextCompressionEndEvent(
            origin=origin,
            texts=list(sent.texts),
            input_tokens=sent.input_tokens,
            kept_tokens=sent.kept_tokens,
            note=dict(sent.note),
        )
        dispatcher.event(event)

    return options.shortener(on_start=start, on_end=end)


def with_texts(blocks: Iterable[ContentBlock], texts: Sequence[str]) -> list[ContentBlock]:
    """Copies of blocks with other texts, in order; blocks that are no text stay."""
    words = iter(texts)
    return [block.model_copy(update={"text": next(words)}) if isinstance(block, TextBlock) else block for block in blocks]
