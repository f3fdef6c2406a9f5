"""CPRSDocumentCompressor: retrieved LangChain documents in, the same documents with only the words that matter out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypedDict

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.load import Serializable, loads
from langchain_core.runnables import RunnableConfig, RunnableLambda
from pydantic import Field, model_validator

from cprs_core import adapters
from cprs_core.adapters import Strategy
from cprs_core.errors import InputError
from cprs_core.pydantic_options import CompressorOptions
from cprs_core.result import Compression


class _Inputs(TypedDict):
    documents: list[Document]
    query: str


class CPRSDocumentCompressor(BaseDocumentCompressor, Serializable, CompressorOptions):
    """Compresses retrieved documents for the query, all of a call together.

    Every document that comes out is a copy: its text is what was kept of it, its id and metadata are the same, and
    ``metadata[metadata_key]`` holds ``spans`` (``[start, end, score, tag]`` in characters of the original text),
    ``input_tokens``, ``kept_tokens``, ``original_length`` (characters) and ``model``.

    Args:
        model: ``"cprs-small"``, a local folder or a Hugging Face id. Loaded on first use and shared in the process.
        device, dtype, window_size, overlap, batch_tokens, skim: see :meth:`cprs_core.ContextCompressor.from_pretrained`.
        instruction: the name of a preset (``"sentences"``, ``"answer"``, ``"entities:KIND"``, ...), or what to keep in
            plain words, or an :class:`~cprs_core.Instruction` with tags of your own; None = sentences.
        max_tokens, ratio: a budget for all documents of a call together, in tokens or as a share of theirs; never
            exceeded.
        threshold: keep what scores at least this much. None of the three: the model decides.
        keep_empty: what happens to a document that holds nothing relevant: False drops it; True keeps it with an empty
            text, so that the results are as many as the documents, in the same order.
        metadata_key: where the statistics go.
        strategy: ``"chunks"`` compresses the documents as retrieved; ``"parents"`` the whole documents that they are
            chunks of, each once, at the place of its best (first) chunk.
        fetch_parent: where whole documents come from: a function from a parent id to its document, or a store with
            ``mget(ids)``, such as the ``docstore`` or ``byte_store`` of a ``ParentDocumentRetriever``.
        parent_id_key: the metadata key of a chunk that holds the id of its parent.
        compressor: one that is loaded already, instead of ``model`` and how to load it.
        url: a service started with ``cprs serve``, instead of a model in this process.
        api_key: for the service; None = the environment variable ``CPRS_API_KEY``. Serialisation leaves it out.

    ``fetch_parent`` and ``compressor`` are objects: serialisation leaves them out.

    Raises:
        pydantic.ValidationError: an unknown option, one out of range, or two that contradict each other.
    """

    keep_empty: bool = False
    metadata_key: str = Field(default="cprs", min_length=1)
    strategy: Strategy = "chunks"
    fetch_parent: Any = Field(default=None, exclude=True)
    parent_id_key: str = "doc_id"

    @model_validator(mode="after")
    def _check_strategy(self) -> CPRSDocumentCompressor:
        adapters.check_strategy(self, "mget")
        return self

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Compresses ``documents`` for ``query``; a run of its own in traces.

        Raises:
            InputError: an empty query, or a parent that cannot be found.
        """
        inputs = _Inputs(documents=list(documents), query=query)
        return RunnableLambda(self._compress).invoke(inputs, self._config(callbacks))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """:meth:`compress_documents`; the event loop stays free, also while a model is loaded."""
        inputs = _Inputs(documents=list(documents), query=query)
        return await RunnableLambda(self._compress, self._acompress).ainvoke(inputs, self._config(callbacks))

    def _compress(self, inputs: _Inputs) -> list[Document]:
        documents = inputs["documents"]
        if self.strategy == "parents":
            ids = self._parent_ids(documents)
            documents = _checked(ids, self._fetch(ids))
        if not documents:
            return []
        compressor = adapters.resolve_compressor(self)
        results = compressor.compress_documents(_texts(documents), inputs["query"], **adapters.arguments(self))
        return self._outputs(documents, results)

    async def _acompress(self, inputs: _Inputs) -> list[Document]:
        documents = inputs["documents"]
        if self.strategy == "parents":
            ids = self._parent_ids(documents)
            documents = _checked(ids, await self._afetch(ids))
        if not documents:
            return []
        compressor = await asyncio.to_thread(adapters.resolve_compressor, self)
        results = await compressor.acompress_documents(_texts(documents), inputs["query"], **adapters.arguments(self))
        return self._outputs(documents, results)

    def _outputs(self, documents: list[Document], results: list[Compression]) -> list[Document]:
        pairs = zip(documents, results, strict=True)
        return [self._output(document, result) for document, result in pairs if result.spans or self.keep_empty]

    def _output(self, document: Document, result: Compression) -> Document:
        output = document.model_copy(update={"page_content": result.text}, deep=True)
        output.metadata[self.metadata_key] = adapters.statistics(result)
        return output

    def _parent_ids(self, chunks: list[Document]) -> list[Any]:
        """The ids of the parents, best first, each once."""
        for chunk in chunks:
            if chunk.metadata.get(self.parent_id_key) is None:
                raise InputError(
                    f"the chunk {chunk.page_content[:60]!r} has no metadata[{self.parent_id_key!r}]; set parent_id_key "
                    "to the metadata key that holds the id of its parent"
                )
        return list(dict.fromkeys(chunk.metadata[self.parent_id_key] for chunk in chunks))

    def _fetch(self, ids: list[Any]) -> list[Any]:
        if hasattr(self.fetch_parent, "mget"):
            return list(self.fetch_parent.mget(ids))
        return [self.fetch_parent(id_) for id_ in ids]

    async def _afetch(self, ids: list[Any]) -> list[Any]:
        if hasattr(self.fetch_parent, "amget"):
            return list(await self.fetch_parent.amget(ids))
        return await asyncio.to_thread(self._fetch, ids)

    def _config(self, callbacks: Callbacks | None) -> RunnableConfig:
        return {"callbacks": callbacks, "run_name": type(self).__name__}


def _texts(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]


def _checked(ids: list[Any], parents: list[Any]) -> list[Document]:
    """The fetched parents; what a byte store holds is turned back into documents, as LangChain's own retrievers do."""
    revived = [loads(p.decode(), allowed_objects=[Document]) if isinstance(p, bytes) else p for p in parents]
    return adapters.check_parents(ids, revived, Document)
