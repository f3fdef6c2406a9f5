"""CPRSNodePostprocessor: retrieved LlamaIndex nodes in, the same nodes with only the words that matter out."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    IndexNode,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index_instrumentation import get_dispatcher
from pydantic import Field, model_validator

from cprs_core import adapters
from cprs_core.adapters import Strategy
from cprs_core.errors import InputError
from cprs_core.pydantic_options import CompressorOptions
from cprs_core.result import Compression

from .events import CompressionEndEvent, CompressionStartEvent

dispatcher = get_dispatcher(__name__)


class CPRSNodePostprocessor(BaseNodePostprocessor, CompressorOptions):
    """Compresses retrieved nodes for the query, all of a call together.

    Every text node that comes out is a copy: its text is what was kept of it; its id, score, metadata, relationships
    and character indices are the same. ``metadata[metadata_key]`` holds ``spans`` (``[start, end, score, tag]`` in
    characters of the original text), ``input_tokens``, ``kept_tokens``, ``original_length`` (characters) and ``model``;
    it is shown to no LLM and no embedding. Nodes that are not plain text (images, references to an index) stay as they
    are.

    Emits :class:`CompressionStartEvent` and :class:`CompressionEndEvent`.

    Args:
        model: ``"cprs-small"``, a local folder or a Hugging Face id. Loaded on first use and shared in the process.
        device, dtype, window_size, overlap, batch_tokens, skim: see :meth:`cprs_core.ContextCompressor.from_pretrained`.
        instruction: the name of a preset (``"sentences"``, ``"answer"``, ``"entities:KIND"``, ...), or what to keep in
            plain words, or an :class:`~cprs_core.Instruction` with tags of your own; None = sentences.
        max_tokens, ratio: a budget for all nodes of a call together, in tokens or as a share of them; never exceeded.
        threshold: keep what scores at least this much. None of the three: the model decides.
        keep_empty: what happens to a node that holds nothing relevant: False drops it; True keeps it with an empty
            text, so that the results are as many as the nodes, in the same order.
        metadata_key: where the statistics go.
        strategy: ``"chunks"`` compresses the nodes as retrieved; ``"parents"`` the whole documents that they are chunks
            of, each once, at the place of its best (first) chunk and with the best score of its chunks.
        fetch_parent: where whole documents come from: a document store, or a function from an id to a node.
        parent_relation: what the parent of a chunk is: ``"source"``, the document it was cut from, or ``"parent"``, the
            next larger chunk of a hierarchical parser.
        compressor: one that is loaded already, instead of ``model`` and how to load it.
        url: a service started with ``cprs serve``, instead of a model in this process.
        api_key: for the service; None = the environment variable ``CPRS_API_KEY``. Serialisation leaves it out.

    ``fetch_parent`` and ``compressor`` are objects: ``to_dict`` leaves them out, ``from_dict(data, compressor=...)``
    puts them back.

    Raises:
        pydantic.ValidationError: an unknown option, one out of range, or two that contradict each other.
    """

    keep_empty: bool = False
    metadata_key: str = Field(default="cprs", min_length=1)
    strategy: Strategy = "chunks"
    fetch_parent: Any = Field(default=None, exclude=True)
    parent_relation: Literal["source", "parent"] = "source"

    @model_validator(mode="after")
    def _check_strategy(self) -> CPRSNodePostprocessor:
        adapters.check_strategy(self, "get_document")
        return self

    @classmethod
    def class_name(cls) -> str:
        return "CPRSNodePostprocessor"

    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None) -> list[NodeWithScore]:
        query = _query(query_bundle)
        if self.strategy == "parents":
            ids = self._parent_ids(nodes)
            nodes = _replace(nodes, ids, self._fetch(_unique(ids)))
        self._started(query, nodes)
        results: list[Compression] = []
        if texts := _texts(nodes):
            compressor = adapters.resolve_compressor(self)
            results = compressor.compress_documents(texts, query, **adapters.arguments(self))
        return self._finished(nodes, results)

    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query(query_bundle)
        if self.strategy == "parents":
            ids = self._parent_ids(nodes)
            nodes = _replace(nodes, ids, await self._afetch(_unique(ids)))
        self._started(query, nodes)
        results: list[Compression] = []
        if texts := _texts(nodes):
            compressor = await asyncio.to_thread(adapters.resolve_compressor, self)
            results = await compressor.acompress_documents(texts, query, **adapters.arguments(self))
        return self._finished(nodes, results)

    def _started(self, query: str, nodes: list[NodeWithScore]) -> None:
        dispatcher.event(CompressionStartEvent(query=query, nodes=nodes, model_name=self.model))

    def _finished(self, nodes: list[NodeWithScore], results: list[Compression]) -> list[NodeWithScore]:
        remaining = iter(results)
        outputs = []
        for item in nodes:
            if not _is_text(item.node):
                outputs.append(item)
            elif (result := next(remaining)).spans or self.keep_empty:
                outputs.append(item.model_copy(update={"node": self._output(item.node, result)}))
        tokens = {name: sum(getattr(result, name) for result in results) for name in ("input_tokens", "kept_tokens")}
        dispatcher.event(CompressionEndEvent(nodes=outputs, **tokens))
        return outputs

    def _output(self, node: BaseNode, result: Compression) -> BaseNode:
        output = node.model_copy(deep=True)
        output.set_content(result.text)
        output.metadata[self.metadata_key] = adapters.statistics(result)
        for hidden in (output.excluded_llm_metadata_keys, output.excluded_embed_metadata_keys):
            if self.metadata_key not in hidden:
                hidden.append(self.metadata_key)
        return output

    def _parent_ids(self, nodes: list[NodeWithScore]) -> list[str | None]:
        """The id of each node's parent; None for the nodes that stay as they are."""
        relation = NodeRelationship.SOURCE if self.parent_relation == "source" else NodeRelationship.PARENT
        ids: list[str | None] = []
        for item in nodes:
            parent = item.node.relationships.get(relation) if _is_text(item.node) else None
            if _is_text(item.node) and not isinstance(parent, RelatedNodeInfo):
                raise InputError(
                    f"the node {item.node.node_id!r} has no {relation.name} relationship, so its parent is unknown; "
                    "set parent_relation to the one it has, or use strategy='chunks'"
                )
            ids.append(parent.node_id if isinstance(parent, RelatedNodeInfo) else None)
        return ids

    def _fetch(self, ids: list[str]) -> dict[str, BaseNode]:
        if hasattr(self.fetch_parent, "get_document"):
            found = [self.fetch_parent.get_document(id_, raise_error=False) for id_ in ids]
        else:
            found = [self.fetch_parent(id_) for id_ in ids]
        return dict(zip(ids, adapters.check_parents(ids, found, BaseNode), strict=True))

    async def _afetch(self, ids: list[str]) -> dict[str, BaseNode]:
        if not hasattr(self.fetch_parent, "aget_document"):
            return await asyncio.to_thread(self._fetch, ids)
        found = [await self.fetch_parent.aget_document(id_, raise_error=False) for id_ in ids]
        return dict(zip(ids, adapters.check_parents(ids, found, BaseNode), strict=True))


def _query(query_bundle: QueryBundle | None) -> str:
    if query_bundle is None or not query_bundle.query_str.strip():
        raise InputError("there is no query to compress for; pass query_str or a query_bundle with one")
    return query_bundle.query_str


def _is_text(node: BaseNode) -> bool:
    """Whether the text is all there is to a node: no image, and no reference to something else."""
    if isinstance(node, Node):
        other = node.image_resource or node.audio_resource or node.video_resource
        return node.text_resource is not None and other is None
    return isinstance(node, TextNode) and not isinstance(node, (ImageNode, IndexNode))


def _texts(nodes: list[NodeWithScore]) -> list[str]:
    return [item.node.get_content(metadata_mode=MetadataMode.NONE) for item in nodes if _is_text(item.node)]


def _unique(ids: list[str | None]) -> list[str]:
    return list(dict.fromkeys(id_ for id_ in ids if id_ is not None))


def _replace(nodes: list[NodeWithScore], ids: list[str | None], parents: dict[str, BaseNode]) -> list[NodeWithScore]:
    """The parents in place of their chunks, each where its first chunk was, with the best score of its chunks."""
    outputs: list[NodeWithScore] = []
    placed: dict[str, NodeWithScore] = {}
    for item, id_ in zip(nodes, ids, strict=True):
        if id_ is None:
            outputs.append(item)
        elif id_ not in placed:
            placed[id_] = item.model_copy(update={"node": parents[id_]})
            outputs.append(placed[id_])
        elif item.score is not None:
            best = placed[id_].score
            placed[id_].score = item.score if best is None else max(best, item.score)
    return outputs
