"""A component of Haystack: documents in, the same documents with only the words that matter out (extra ``haystack``)."""

# No `from __future__ import annotations`: Haystack 2 compares the types of sockets as they are written.

import asyncio
from dataclasses import replace
from typing import Any, Unpack

from .. import adapters
from ..errors import MissingExtraError
from ..pydantic_options import CompressorOptions, Options
from ..result import Compression

try:
    from haystack import Document, component, default_to_dict
except ImportError as error:
    raise MissingExtraError("haystack-ai", "haystack") from error


@component
class CPRSDocumentCompressor:
    """Compresses retrieved documents for the query, all of a call together.

    Every document that comes out is a copy with the same id, score and meta; ``meta[meta_key]`` holds ``spans``
    (``[start, end, score, tag]`` in characters of the original text), ``input_tokens``, ``kept_tokens``,
    ``original_length`` and ``model``. Documents without a text pass through.

    Args:
        keep_empty: False drops a document that holds nothing relevant; True keeps it with an empty text.
        meta_key: where the statistics go.
        options: see :class:`~cprs_core.pydantic_options.CompressorOptions`; a budget holds for all documents of a call.

    ``compressor`` and ``api_key`` are left out when a pipeline is saved; the key is read from ``CPRS_API_KEY`` then. To load
    it, Haystack wants ``Pipeline.load(file, allowed_modules=["cprs_core.integrations.haystack"])``.
    """

    def __init__(self, keep_empty: bool = False, meta_key: str = "cprs", **options: Unpack[Options]) -> None:
        self.keep_empty, self.meta_key = keep_empty, meta_key
        self._options = CompressorOptions(**options)  # type: ignore[arg-type]
        self._arguments = adapters.arguments(self._options)

    def to_dict(self) -> dict[str, Any]:
        """The component as a dictionary, for saved pipelines."""
        options = self._options.model_dump(mode="json", exclude_none=True)
        return default_to_dict(self, keep_empty=self.keep_empty, meta_key=self.meta_key, **options)

    def warm_up(self) -> None:
        """Loads the model; it is shared in the process."""
        adapters.resolve_compressor(self._options)

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document]) -> dict[str, list[Document]]:
        """Compresses ``documents`` for ``query``.

        Raises:
            InputError: an empty query.
        """
        compressor = adapters.resolve_compressor(self._options)
        return self._outputs(documents, compressor.compress_documents(_texts(documents), query, **self._arguments))

    @component.output_types(documents=list[Document])
    async def run_async(self, query: str, documents: list[Document]) -> dict[str, list[Document]]:
        """:meth:`run`; the event loop stays free."""
        compressor = await asyncio.to_thread(adapters.resolve_compressor, self._options)
        return self._outputs(documents, await compressor.acompress_documents(_texts(documents), query, **self._arguments))

    def _outputs(self, documents: list[Document], results: list[Compression]) -> dict[str, list[Document]]:
        left = iter(results)
        outputs = [document if document.content is None else self._output(document, next(left)) for document in documents]
        return {"documents": [output for output in outputs if output.content != "" or self.keep_empty]}

    def _output(self, document: Document, result: Compression) -> Document:
        meta = {**document.meta, self.meta_key: adapters.statistics(result)}
        return replace(document, content=result.text, meta=meta)


def _texts(documents: list[Document]) -> list[str]:
    return [document.content for document in documents if document.content is not None]
