"""What the examples of the documentation take for granted: stores, models and clients, and servers where they say one is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "cprs_core" / "proxy")]

KEY = "a-key-for-the-examples"
TEXTS = [
    "The library opened in 1871. It rained all day.",
    "The bridge was built in 1822. Nobody knew why.",
    "Ann bought the yellow house in 1999. It has a garden.",
]
FEE = "May I charge a fee for support?"


def openai_client() -> Any:
    from openai import OpenAI

    return lambda base_url: OpenAI(base_url=base_url, api_key="k", max_retries=0)


def embeddings() -> Any:
    from langchain_core.embeddings import DeterministicFakeEmbedding

    return DeterministicFakeEmbedding(size=16)


def similarity_filter() -> Any:
    """Stands in for LangChain's own, which needs langchain-community."""
    from langchain_core.documents import BaseDocumentCompressor

    class First(BaseDocumentCompressor):
        def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
            return documents[:3]

    return First()


class Dataset:
    """Stands in for Ray's: makes the stage as a worker would."""

    def map_batches(self, stage: Any, fn_constructor_kwargs: dict[str, Any], **where: Any) -> Dataset:
        stage(**fn_constructor_kwargs)
        return self


def ray() -> Any:
    import ray.data

    return ray


def vector_store() -> Any:
    from langchain_core.vectorstores import InMemoryVectorStore

    return InMemoryVectorStore.from_texts(TEXTS, embeddings())


def index() -> Any:
    from llama_index.core import Document, VectorStoreIndex
    from llama_index.core.embeddings import MockEmbedding

    return VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS], embed_model=MockEmbedding(4))


def llm() -> Any:
    """LlamaIndex's: reads the licence first where it is asked about the fee, and then says yes."""
    from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
    from llama_index.core.llms.mock import MockFunctionCallingLLM

    def respond(messages: Sequence[ChatMessage], **options: Any) -> ChatMessage:
        if messages[-1].content != FEE:
            return ChatMessage(role="assistant", content="Yes.")
        wanted = ToolCallBlock(tool_call_id="1", tool_name="read_licence", tool_kwargs={})
        return ChatMessage(role="assistant", blocks=[wanted])

    return MockFunctionCallingLLM(response_generator=respond)


def chat_model() -> Any:
    """LangChain's."""
    from langchain_core.language_models import GenericFakeChatModel

    return GenericFakeChatModel(messages=iter([]))


def function_agent() -> Any:
    from llama_index.core.agent.workflow import FunctionAgent

    return FunctionAgent


def of_llamaindex(name: str) -> Callable[[], Any]:
    def take() -> Any:
        import llamaindex_cprs

        return getattr(llamaindex_cprs, name)

    return take


def read_licence() -> str:
    """Read the project's licence."""
    return (TESTS.parent / "LICENSE").read_text()


# What an example may use without saying where it comes from
GIVEN: dict[str, Callable[[], Any]] = {
    "text": lambda: TEXTS[0],
    "texts": lambda: [text + " The road is dry." * 12 for text in TEXTS],
    "question": lambda: "When was the bridge built?",
    "key": lambda: KEY,
    "embeddings": embeddings,
    "first": similarity_filter,
    "dataset": Dataset,
    "ray": ray,
    "vector_store": vector_store,
    "retriever": lambda: vector_store().as_retriever(),
    "index": index,
    "llm": llm,
    "model": chat_model,
    "tools": lambda: [read_licence],
    "OpenAI": openai_client,
    "FunctionAgent": function_agent,
    "CPRSMemory": of_llamaindex("CPRSMemory"),
    "compress_tool": of_llamaindex("compress_tool"),
    "CPRSNodePostprocessor": of_llamaindex("CPRSNodePostprocessor"),
    "read_licence": lambda: read_licence,
}


@pytest.fixture(autouse=True)
def _llm_of_llamaindex(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an example names no LLM, LlamaIndex takes that of its settings: without this, OpenAI's."""
    monkeypatch.setattr("llama_index.core.Settings._llm", llm())


@contextmanager
def server_for(code: str) -> Iterator[str]:
    """The URL of what an example talks to: the proxy before a provider, where it has OpenAI's client, else the service."""
    from fakes import running
    from provider import Provider

    from cprs_core import shared
    from cprs_core.proxy import settings as proxy
    from cprs_core.proxy.app import create_proxy
    from cprs_core.server import settings as service
    from cprs_core.server.app import create_app
    from cprs_core.server.auth import Keys

    if "OpenAI(" in code:
        with running(Provider().app) as upstream, running(create_proxy(shared(), proxy.Settings(upstream))) as url:
            yield url
    else:
        with running(create_app(shared(), service.Settings(keys=Keys([KEY])))) as url:
            yield url
