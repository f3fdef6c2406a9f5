"""cprs for LangChain: keep the words of retrieved documents, tool outputs and long messages that matter, verbatim.

    >>> from langchain_cprs import CPRSDocumentCompressor
    >>> compressor = CPRSDocumentCompressor(max_tokens=500)

Importing this package loads neither torch nor a model; the first compression does. It needs langchain-core alone; the
middleware for agents needs langchain, and is imported on first use.
"""

from typing import TYPE_CHECKING, Any

from cprs_core.errors import MissingExtraError

if TYPE_CHECKING:
    from .middleware import CPRSMessagesMiddleware, CPRSToolOutputMiddleware

try:
    from .document_compressor import CPRSDocumentCompressor
    from .tools import CPRSCompressContextTool, read_original_tool
    from .variable import compress_variable
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "langchain_core":
        raise
    raise MissingExtraError("langchain-core", "langchain") from error

_MIDDLEWARE = ("CPRSMessagesMiddleware", "CPRSToolOutputMiddleware")
__all__ = [
    "CPRSCompressContextTool",
    "CPRSDocumentCompressor",
    "CPRSMessagesMiddleware",
    "CPRSToolOutputMiddleware",
    "compress_variable",
    "read_original_tool",
]


def __getattr__(name: str) -> Any:
    if name not in _MIDDLEWARE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from . import middleware
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("langchain", "langgraph"):
            raise
        raise MissingExtraError("langchain", "langchain-agents") from error
    return getattr(middleware, name)


def __dir__() -> list[str]:
    return __all__
