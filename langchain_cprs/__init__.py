"""cprs for LangChain: keep the words of retrieved documents that matter, verbatim.

    >>> from langchain_cprs import CPRSDocumentCompressor
    >>> compressor = CPRSDocumentCompressor(max_tokens=500)

Importing this package loads neither torch nor a model; the first compression does.
"""

from cprs_core.errors import MissingExtraError

try:
    from .document_compressor import CPRSDocumentCompressor
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "langchain_core":
        raise
    raise MissingExtraError("langchain-core", "langchain") from error

__all__ = ["CPRSDocumentCompressor"]
