"""The LangChain adapter: its own logic over a fake compressor, then LangChain's own parts over a tiny real model."""

import asyncio
import copy
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fakes import FakeCompressor
from langchain_classic.retrievers import ContextualCompressionRetriever, ParentDocumentRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.load import dumpd, load
from langchain_core.stores import InMemoryByteStore, InMemoryStore
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter
from pydantic import ValidationError

from cprs_core import ContextCompressor, InputError, Instruction, compressor
from langchain_cprs import CPRSDocumentCompressor

QUERY = "What is kept?"
LONG = "The licence ends in May. It was signed by Ann. The weather was fine. Nobody knows why. "


def documents() -> list[Document]:
    return [
        Document(
            "Drop me. Please keep this. Drop me too.", id="1", metadata={"relevance_score": 0.8, "deep": {"list": [1]}}
        ),
        Document("Nothing to see here.", id="2"),
        Document("And keep that as well.", metadata={"source": "c.txt"}),
    ]


def run(adapter: CPRSDocumentCompressor, docs: list[Document], asynchronous: bool, **options: Any) -> list[Document]:
    if asynchronous:
        return asyncio.run(adapter.acompress_documents(docs, QUERY, **options))
    return adapter.compress_documents(docs, QUERY, **options)


both = pytest.mark.parametrize("asynchronous", [False, True])


class Recorder(BaseCallbackHandler):
    """Notes each run: its name, its parent's name, and how it ended."""

    def __init__(self) -> None:
        self.names: dict[Any, str] = {}
        self.runs: list[tuple[str, str | None]] = []
        self.outputs: list[Any] = []
        self.errors: list[BaseException] = []

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: Any, parent_run_id: Any = None, **kwargs: Any) -> None:
        self.names[run_id] = kwargs["name"]
        self.runs.append((kwargs["name"], self.names.get(parent_run_id)))

    def on_retriever_start(self, serialized: Any, query: str, *, run_id: Any, **kwargs: Any) -> None:
        self.names[run_id] = "retriever"

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        self.outputs.append(outputs)

    def on_chain_error(self, error: BaseException, **kwargs: Any) -> None:
        self.errors.append(error)


class TestAdapter:
    @both
    def test_keeps_text_id_and_metadata(self, fake: FakeCompressor, asynchronous: bool) -> None:
        given = documents()
        first, second = run(CPRSDocumentCompressor(compressor=fake), given, asynchronous)
        assert first.page_content == "Please keep this."
        assert first.id == "1"
        assert first.metadata == {
            "relevance_score": 0.8,
            "deep": {"list": [1]},
            "cprs": {
                "spans": [[9, 26, 0.9, "fact"]],
                "input_tokens": 8,
                "kept_tokens": 3,
                "original_length": 39,
                "model": "fake",
            },
        }
        start, end, *_ = first.metadata["cprs"]["spans"][0]
        assert given[0].page_content[start:end] == first.page_content
        assert second.metadata["source"] == "c.txt"
        assert len(fake.calls) == 1
        assert fake.calls[0].get("asynchronous", False) is asynchronous

    @both
    def test_inputs_are_not_mutated(self, fake: FakeCompressor, asynchronous: bool) -> None:
        given = documents()
        before = copy.deepcopy(given)
        first, *_ = run(CPRSDocumentCompressor(compressor=fake), given, asynchronous)
        first.metadata["deep"]["list"].append(2)
        assert given == before

    @both
    def test_empty_documents_are_dropped_or_kept_in_place(self, fake: FakeCompressor, asynchronous: bool) -> None:
        texts = [d.page_content for d in run(CPRSDocumentCompressor(compressor=fake), documents(), asynchronous)]
        assert texts == ["Please keep this.", "And keep that as well."]
        kept = run(CPRSDocumentCompressor(compressor=fake, keep_empty=True), documents(), asynchronous)
        assert [d.page_content for d in kept] == ["Please keep this.", "", "And keep that as well."]
        assert kept[1].id == "2"
        assert kept[1].metadata["cprs"]["spans"] == []

    @both
    def test_no_documents_need_no_model(self, asynchronous: bool) -> None:
        assert run(CPRSDocumentCompressor(model="/no/such/model"), [], asynchronous) == []

    def test_options_reach_the_compressor(self, fake: FakeCompressor) -> None:
        adapter = CPRSDocumentCompressor(
            compressor=fake, instruction="entities:drugs", max_tokens=5, threshold=0.5, metadata_key="kept"
        )
        (only,) = adapter.compress_documents(documents(), QUERY)
        (call,) = fake.calls
        assert call["instruction"] == Instruction.entities("drugs")
        assert (call["query"], call["max_tokens"], call["threshold"], "ratio" in call) == (QUERY, 5, 0.5, False)
        assert only.metadata["kept"]["spans"][0][3] == "entity"
        assert only.page_content == "Please keep this."  # one budget for all: nothing was left for the third document

    @both
    def test_is_a_run_of_its_own(self, fake: FakeCompressor, asynchronous: bool) -> None:
        recorder = Recorder()
        result = run(CPRSDocumentCompressor(compressor=fake), documents(), asynchronous, callbacks=[recorder])
        assert recorder.runs == [("CPRSDocumentCompressor", None)]
        assert recorder.outputs == [result]

    @both
    def test_errors_pass_through_and_are_traced(self, fake: FakeCompressor, asynchronous: bool) -> None:
        recorder = Recorder()
        adapter = CPRSDocumentCompressor(compressor=fake)
        adapter.max_tokens = 0
        with pytest.raises(InputError):
            run(adapter, documents(), asynchronous, callbacks=[recorder])
        assert [type(error).__name__ for error in recorder.errors] == ["BudgetError"]

    def test_subclasses_of_document_stay_what_they_are(self, fake: FakeCompressor) -> None:
        class Page(Document):
            number: int

        (page,) = CPRSDocumentCompressor(compressor=fake).compress_documents([Page("keep it.", number=3)], QUERY)
        assert isinstance(page, Page)
        assert (page.number, page.page_content) == (3, "keep it.")


class TestOptions:
    @pytest.mark.parametrize(
        "options",
        [
            {"max_token": 5},
            {"max_tokens": 0},
            {"ratio": 1.5},
            {"threshold": 0},
            {"max_tokens": 5, "ratio": 0.5},
            {"window_size": 10},
            {"overlap": -1},
            {"strategy": "documents"},
            {"strategy": "parents"},
            {"fetch_parent": {}.get},
            {"strategy": "parents", "fetch_parent": 3},
            {"instruction": "sentense"},
            {"instruction": ""},
            {"compressor": "cprs-small"},
            {"compressor": FakeCompressor(), "device": "cpu"},
            {"model": None},
        ],
    )
    def test_bad_ones_are_refused_at_once(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            CPRSDocumentCompressor(**options)

    def test_round_trips(self, tiny_options: dict[str, Any]) -> None:
        adapter = CPRSDocumentCompressor(**tiny_options, instruction="answer", ratio=0.5, keep_empty=True)
        assert adapter.model == str(tiny_options["model"])
        assert CPRSDocumentCompressor(**adapter.model_dump()) == adapter
        assert CPRSDocumentCompressor.model_validate_json(adapter.model_dump_json()) == adapter
        assert pickle.loads(pickle.dumps(adapter)) == adapter
        revived = load(dumpd(adapter), valid_namespaces=["langchain_cprs"], allowed_objects=[CPRSDocumentCompressor])
        assert revived == adapter

    def test_has_a_json_schema(self) -> None:
        assert "max_tokens" in CPRSDocumentCompressor.model_json_schema()["properties"]

    def test_injected_objects_are_left_out(self, fake: FakeCompressor) -> None:
        adapter = CPRSDocumentCompressor(compressor=fake, strategy="parents", fetch_parent={}.get)
        dumped = adapter.model_dump()
        assert dumped["model"] == "fake"
        assert not {"compressor", "fetch_parent"} & set(dumped)
        assert CPRSDocumentCompressor(**dumped, compressor=fake, fetch_parent={}.get).compressor is fake


class AsyncStore:
    """A store that has only the asynchronous method beside an ``mget`` that must not be used."""

    def __init__(self, parents: dict[str, Document]) -> None:
        self.parents = parents

    def mget(self, ids: list[str]) -> list[Document | None]:
        raise AssertionError("blocks the event loop")

    async def amget(self, ids: list[str]) -> list[Document | None]:
        return [self.parents.get(id_) for id_ in ids]


CHUNKS = [Document(f"chunk {i}", metadata={"doc_id": id_}) for i, id_ in enumerate("babc")]
PARENTS = {id_: Document(f"Drop. Keep {id_}? No. I keep {id_}.", id=id_, metadata={"n": id_}) for id_ in "abc"}


class TestParents:
    def check(self, fake: FakeCompressor, fetch_parent: Any, asynchronous: bool) -> None:
        before = copy.deepcopy(PARENTS)
        adapter = CPRSDocumentCompressor(compressor=fake, strategy="parents", fetch_parent=fetch_parent)
        results = run(adapter, CHUNKS, asynchronous)
        assert [(r.id, r.page_content, r.metadata["n"]) for r in results] == [(id_, f"I keep {id_}.", id_) for id_ in "bac"]
        assert before == PARENTS

    @both
    def test_from_a_function(self, fake: FakeCompressor, asynchronous: bool) -> None:
        self.check(fake, PARENTS.get, asynchronous)

    @both
    def test_from_a_store(self, fake: FakeCompressor, asynchronous: bool) -> None:
        store = InMemoryStore()
        store.mset(list(PARENTS.items()))
        self.check(fake, store, asynchronous)

    def test_from_an_asynchronous_store(self, fake: FakeCompressor) -> None:
        self.check(fake, AsyncStore(PARENTS), asynchronous=True)

    @both
    def test_missing_parents_and_ids_are_errors(self, fake: FakeCompressor, asynchronous: bool) -> None:
        adapter = CPRSDocumentCompressor(compressor=fake, strategy="parents", fetch_parent={}.get)
        with pytest.raises(InputError, match="no parent 'b'"):
            run(adapter, CHUNKS, asynchronous)
        with pytest.raises(InputError, match="parent_id_key"):
            run(adapter, [Document("orphan")], asynchronous)
        strings = CPRSDocumentCompressor(compressor=fake, strategy="parents", fetch_parent=str)
        with pytest.raises(InputError, match="must be a Document, got str"):
            run(strings, CHUNKS, asynchronous)

    def test_behind_a_parent_document_retriever(self, fake: FakeCompressor) -> None:
        """Its byte store holds serialised documents."""
        byte_store = InMemoryByteStore()
        vectors = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
        splitter = RecursiveCharacterTextSplitter(chunk_size=40, chunk_overlap=0)
        ParentDocumentRetriever(vectorstore=vectors, byte_store=byte_store, child_splitter=splitter).add_documents(
            [Document(LONG + "I keep the end."), Document(LONG + "I keep another end.")]
        )
        for fetch_parent in (byte_store, lambda id_: byte_store.mget([id_])[0]):
            adapter = CPRSDocumentCompressor(compressor=fake, strategy="parents", fetch_parent=fetch_parent)
            retriever = ContextualCompressionRetriever(
                base_compressor=adapter, base_retriever=vectors.as_retriever(search_kwargs={"k": 20})
            )
            texts = sorted(document.page_content for document in retriever.invoke(QUERY))
            assert texts == ["I keep another end.", "I keep the end."]


class TestWithLangChain:
    """A real, tiny model (random weights) inside LangChain's own retrievers and pipelines."""

    @pytest.fixture
    def vectors(self) -> InMemoryVectorStore:
        vectors = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
        vectors.add_documents([Document(f"{LONG}Part {i} ends.", id=str(i), metadata={"n": i}) for i in range(4)])
        return vectors

    def invoke(self, retriever: ContextualCompressionRetriever, asynchronous: bool, **config: Any) -> list[Document]:
        if asynchronous:
            return asyncio.run(retriever.ainvoke("When does it end?", config=config))
        return retriever.invoke("When does it end?", config=config)

    @both
    def test_contextual_compression_retriever(
        self, vectors: InMemoryVectorStore, tiny_options: dict[str, Any], asynchronous: bool
    ) -> None:
        recorder = Recorder()
        base = vectors.as_retriever()
        retriever = ContextualCompressionRetriever(
            base_compressor=CPRSDocumentCompressor(**tiny_options, max_tokens=40), base_retriever=base
        )
        results = self.invoke(retriever, asynchronous, callbacks=[recorder])
        originals = {document.id: document for document in base.invoke("When does it end?")}
        assert results
        assert sum(result.metadata["cprs"]["kept_tokens"] for result in results) <= 40
        for result in results:
            original = originals[result.id]
            spans = [original.page_content[start:end] for start, end, *_ in result.metadata["cprs"]["spans"]]
            assert all(span in result.page_content for span in spans)
            assert result.metadata["n"] == original.metadata["n"]
            assert "cprs" not in original.metadata
        assert ("CPRSDocumentCompressor", "retriever") in recorder.runs

    @both
    def test_pipeline(self, vectors: InMemoryVectorStore, tiny_options: dict[str, Any], asynchronous: bool) -> None:
        splitter = RecursiveCharacterTextSplitter(chunk_size=60, chunk_overlap=0)
        pipeline = DocumentCompressorPipeline(
            transformers=[splitter, CPRSDocumentCompressor(**tiny_options, ratio=0.3, keep_empty=True)]
        )
        retriever = ContextualCompressionRetriever(base_compressor=pipeline, base_retriever=vectors.as_retriever())
        results = self.invoke(retriever, asynchronous)
        tokens = [sum(r.metadata["cprs"][key] for r in results) for key in ("input_tokens", "kept_tokens")]
        assert len(results) > 4
        assert 0 < tokens[1] <= 0.3 * tokens[0]

    def test_same_as_the_compressor_itself(self, tiny_options: dict[str, Any]) -> None:
        texts = [LONG, "Second text. It ends here."]
        real = ContextCompressor.from_pretrained(**tiny_options)
        expected = real.compress_documents(texts, QUERY, Instruction.answer(), ratio=0.4)
        given = [Document(text) for text in texts]
        for adapter in (
            CPRSDocumentCompressor(**tiny_options, instruction="answer", ratio=0.4, keep_empty=True),
            CPRSDocumentCompressor(compressor=real, instruction="answer", ratio=0.4, keep_empty=True),
        ):
            assert [r.page_content for r in adapter.compress_documents(given, QUERY)] == [e.text for e in expected]

    def test_one_model_for_many_adapters_and_threads(
        self, tiny_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(compressor, "_checkpoints", {})
        loads: list[Any] = []
        original = compressor.load

        def counted(*args: Any, **options: Any) -> Any:
            loads.append(args)
            return original(*args, **options)

        monkeypatch.setattr(compressor, "load", counted)
        adapters = [CPRSDocumentCompressor(**tiny_options, max_tokens=20) for _ in range(4)]
        given = [Document(LONG)]
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda adapter: adapter.compress_documents(given, QUERY), adapters * 2))

        async def gather() -> list[list[Document]]:
            return await asyncio.gather(*(adapter.acompress_documents(given, QUERY) for adapter in adapters))

        results += asyncio.run(gather())
        assert len(loads) == 1
        assert all(result == results[0] for result in results)


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, langchain_cprs as p; p.CPRSDocumentCompressor(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_extra_names_the_command() -> None:
    code = "import sys; sys.modules['langchain_core'] = None; import langchain_cprs"
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "pip install 'cprs-core[langchain]'" in result.stderr
