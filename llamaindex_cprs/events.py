"""The events of a compression, for LlamaIndex's instrumentation."""

from __future__ import annotations

from typing import Any

from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.schema import NodeWithScore


class CompressionStartEvent(BaseEvent):
    """Some nodes are about to be compressed: their query, the nodes as given, and the name of the model."""

    query: str
    nodes: list[NodeWithScore]
    model_name: str

    @classmethod
    def class_name(cls) -> str:
        return "CompressionStartEvent"


class CompressionEndEvent(BaseEvent):
    """The nodes are compressed: what came out, and the tokens of all compressed texts before and after."""

    nodes: list[NodeWithScore]
    input_tokens: int
    kept_tokens: int

    @classmethod
    def class_name(cls) -> str:
        return "CompressionEndEvent"


class TextCompressionStartEvent(BaseEvent):
    """The texts of a tool's output or of a message are about to be compressed.

    ``origin`` is ``"tool NAME"`` or ``"message"``; ``texts`` are as given.
    """

    origin: str
    query: str
    texts: list[str]
    model_name: str

    @classmethod
    def class_name(cls) -> str:
        return "TextCompressionStartEvent"


class TextCompressionEndEvent(BaseEvent):
    """They are compressed: the texts that take their place (none if they stay whole), and a note.

    ``note`` holds ``spans`` (``[start, end, score, tag]`` in characters of the original), ``input_tokens``, ``kept_tokens``,
    ``original_length``, ``model`` and ``query``, and the ``reference`` of a stored original; or the reason why the texts
    stay whole, as ``{"whole": ...}`` or ``{"error": ...}``.
    """

    origin: str
    texts: list[str]
    input_tokens: int
    kept_tokens: int
    note: dict[str, Any]

    @classmethod
    def class_name(cls) -> str:
        return "TextCompressionEndEvent"
