"""The events of a compression, for LlamaIndex's instrumentation."""

from __future__ import annotations

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
