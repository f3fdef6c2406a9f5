"""cprs for LlamaIndex: keep the words of retrieved nodes, tool outputs and long messages that matter, verbatim.

    >>> from llamaindex_cprs import CPRSNodePostprocessor
    >>> postprocessor = CPRSNodePostprocessor(max_tokens=500)

Importing this package loads neither torch nor a model; the first compression does.
"""

from cprs_core.errors import MissingExtraError

try:
    from .events import (
        CompressionEndEvent,
        CompressionStartEvent,
        TextCompressionEndEvent,
        TextCompressionStartEvent,
    )
    from .memory import CPRSMemory
    from .node_postprocessor import CPRSNodePostprocessor
    from .tool import compress_tool, read_original_tool
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("llama_index"):
        raise
    raise MissingExtraError("llama-index-core", "llamaindex") from error

__all__ = [
    "CPRSMemory",
    "CPRSNodePostprocessor",
    "CompressionEndEvent",
    "CompressionStartEvent",
    "TextCompressionEndEvent",
    "TextCompressionStartEvent",
    "compress_tool",
    "read_original_tool",
]
