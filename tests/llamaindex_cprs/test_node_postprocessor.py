"""The LlamaIndex adapter: its own logic over a fake compressor, then LlamaIndex's own parts over a tiny real model."""

import asyncio
import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import FakeCompressor
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import HierarchicalNodeParser, SentenceSplitter, get_leaf_nodes
from llama_index.core.schema import (
    BaseNode,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from pydantic import ValidationError

from cprs_core import InputError, Instruction, compressor
from llamaindex_cprs import CompressionEndEvent, CompressionStartEvent, CPRSNodePostprocessor

QUERY = "What is kept?"
LONG = "The licence ends in May. It was signed by Ann. The weather was fine. Nobody knows why. "


def nodes() -> list[NodeWithScore]:
    first = TextNode(
        text="Drop me. Please keep this. Drop me too.",
        id_="1",
        metadata={"deep": {"list": [1]}, "title": "T"},
        excluded_llm_metadata_keys=["deep"],
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc")},
        start_char_idx=7,
        end_char_idx=46,
    )
    return [
        NodeWithScore(node=first, score=0.8),
        NodeWithScore(node=TextNode(text="Nothing to see here.", id_="2"), score=0.7),
        NodeWithScore(node=Document(text="And keep that as well.", id_="3")),
    ]


def run(
    adapter: CPRSNodePostprocessor, given: list[NodeWithScore], asynchronous: bool, query: str | None = QUERY
) -> list[NodeWithScore]:
    if asynchronous:
        return asyncio.run(adapter.apostprocess_nodes(given, query_str=query))
    return adapter.postprocess_nodes(given, query_str=query)


def text(node: BaseNode) -> str:
    return node.get_content(metadata_mode=MetadataMode.NONE)


both = pytest.mark.parametrize("asynchronous", [False, True])


@pytest.fixture
def spans() -> Iterator[SimpleSpanHandler]:
    root = get_dispatcher()
    handler = SimpleSpanHandler()
    root.add_span_handler(handler)
    yield handler
    root.span_handlers.remove(handler)


class TestPostprocessor:
    @both
    def test_keeps_all_but_the_text(self, fake: FakeCompressor, asynchronous: bool) -> None:
        given = nodes()
        first, second = run(CPRSNodePostprocessor(compressor=fake), given, asynchronous)
        statistics = first.node.metadata.pop("cprs")
        assert statistics == {
            "spans": [[9, 26, 0.9, "fact"]],
            "input_tokens": 8,
            "kept_tokens": 3,
            "original_length": 39,
            "model": "fake",
        }
        assert text(first.node) == "Please keep this."
        assert first.score == 0.8
        assert first.node.excluded_llm_metadata_keys == ["deep", "cprs"]
        assert first.node.excluded_embed_metadata_keys == ["cprs"]
        same = {"text", "excluded_llm_metadata_keys", "excluded_embed_metadata_keys"}
        assert first.node.model_dump(exclude=same) == given[0].node.model_dump(exclude=same)
        assert (text(second.node), second.score, second.node_id) == ("And keep that as well.", None, "3")
        assert fake.calls[0].get("asynchronous", False) is asynchronous

    @pytest.mark.parametrize("mode", [MetadataMode.LLM, MetadataMode.EMBED])
    def test_neither_llm_nor_embedding_sees_the_statistics(self, fake: FakeCompressor, mode: MetadataMode) -> None:
        twice = CPRSNodePostprocessor(compressor=fake)
        first, _ = run(twice, run(twice, nodes(), False), False)
        assert "title: T" in first.node.get_content(mode)
        assert "spans" not in first.node.get_content(mode)
        assert first.node.excluded_llm_metadata_keys == ["deep", "cprs"]

    @both
    def test_inputs_are_not_mutated(self, fake: FakeCompressor, asynchronous: bool) -> None:
        given = nodes()
        before = copy.deepcopy(given)
        first, *_ = run(CPRSNodePostprocessor(compressor=fake), given, asynchronous)
        first.node.metadata["deep"]["list"].append(2)
        assert given == before

    @both
    def test_empty_nodes_are_dropped_or_kept_in_place(self, fake: FakeCompressor, asynchronous: bool) -> None:
        kept = run(CPRSNodePostprocessor(compressor=fake, keep_empty=True), nodes(), asynchronous)
        assert [text(item.node) for item in kept] == ["Please keep this.", "", "And keep that as well."]
        assert kept[1].score == 0.7
        assert [item.node_id for item in run(CPRSNodePostprocessor(compressor=fake), nodes(), asynchronous)] == [
            "1",
            "3",
        ]

    @both
    def test_other_nodes_stay_as_they_are_and_where_they_are(self, fake: FakeCompressor, asynchronous: bool) -> None:
        others = [
            ImageNode(text="keep it.", image_url="http://a/b.png"),
            ImageDocument(text="keep it.", image="aGk="),
            IndexNode(text="keep it.", index_id="x"),
            Node(
                text_resource=MediaResource(text="keep it."),
                image_resource=MediaResource(url="http://a/b.png"),
            ),
            Node(image_resource=MediaResource(url="http://a/b.png")),
        ]
        given = [*nodes(), *(NodeWithScore(node=other, score=0.1) for other in others)]
        given = given[::-1]
        results = run(CPRSNodePostprocessor(compressor=fake), given, asynchronous)
        assert all(result is item for result, item in zip(results[:5], given[:5], strict=True))
        assert [item.node_id for item in results[5:]] == ["3", "1"]
        assert len(fake.calls[0]["documents"]) == 3

    @both
    @pytest.mark.parametrize("given", [[], [NodeWithScore(node=ImageNode(image_url="http://a/b.png"))]])
    def test_no_text_needs_no_model(self, given: list[NodeWithScore], asynchronous: bool) -> None:
        assert run(CPRSNodePostprocessor(model="/no/such/model"), given, asynchronous) == given

    def test_options_reach_the_compressor(self, fake: FakeCompressor) -> None:
        adapter = CPRSNodePostprocessor(
            compressor=fake, instruction="entities:drugs", max_tokens=5, threshold=0.5, metadata_key="kept"
        )
        (only,) = run(adapter, nodes(), False)
        (call,) = fake.calls
        assert call["instruction"] == Instruction.entities("drugs")
        assert (call["query"], call["max_tokens"], call["threshold"], "ratio" in call) == (QUERY, 5, 0.5, False)
        assert only.node.metadata["kept"]["spans"][0][3] == "entity"
        assert text(only.node) == "Please keep this."  # one budget for all: nothing was left for the third node


class TestEvents:
    @both
    def test_start_and_end_in_a_span(
        self, fake: FakeCompressor, events: list[Any], spans: SimpleSpanHandler, asynchronous: bool
    ) -> None:
        given = nodes()
        results = run(CPRSNodePostprocessor(compressor=fake), given, asynchronous)
        start, end = events
        assert isinstance(start, CompressionStartEvent)
        assert isinstance(end, CompressionEndEvent)
        assert (start.query, start.nodes, start.model_name) == (QUERY, given, "fake")
        assert (end.nodes, end.input_tokens, end.kept_tokens) == (results, 17, 8)
        assert json.loads(start.model_dump_json())["nodes"][0]["node"]["text"].startswith("Drop me.")
        assert start.span_id == end.span_id is not None
        name = "_apostprocess_nodes" if asynchronous else "_postprocess_nodes"
        assert name in start.span_id
        assert [span.id_ for span in spans.completed_spans] == [start.span_id]

    @both
    @pytest.mark.parametrize("query", [None, "", " "])
    def test_a_missing_query_is_an_error_before_anything_starts(
        self, fake: FakeCompressor, events: list[Any], query: str | None, asynchronous: bool
    ) -> None:
        adapter = CPRSNodePostprocessor(compressor=fake)
        with pytest.raises(InputError, match="no query"):
            run(adapter, nodes(), asynchronous, query)
        assert not [event for event in events if isinstance(event, CompressionStartEvent)]
        assert fake.calls == []


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
            {"strategy": "documents"},
            {"strategy": "parents"},
            {"fetch_parent": {}.get},
            {"strategy": "parents", "fetch_parent": 3},
            {"parent_relation": "child"},
            {"instruction": "sentense"},
            {"compressor": "cprs-small"},
            {"compressor": FakeCompressor(), "window_size": 512},
        ],
    )
    def test_bad_ones_are_refused_at_once(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            CPRSNodePostprocessor(**options)

    def test_round_trips(self, tiny_options: dict[str, Any]) -> None:
        adapter = CPRSNodePostprocessor(**tiny_options, instruction="answer", ratio=0.5, keep_empty=True)
        options = adapter.to_dict()
        assert options["class_name"] == CPRSNodePostprocessor.class_name() == "CPRSNodePostprocessor"
        for again in (
            CPRSNodePostprocessor.from_dict(options),
            CPRSNodePostprocessor.from_json(adapter.to_json()),
            pickle.loads(pickle.dumps(adapter)),
        ):
            assert again.to_dict() == options

    def test_has_a_json_schema(self) -> None:
        assert "max_tokens" in CPRSNodePostprocessor.model_json_schema()["properties"]

    def test_injected_objects_are_left_out(self, fake: FakeCompressor) -> None:
        options = CPRSNodePostprocessor(compressor=fake, strategy="parents", fetch_parent={}.get).to_dict()
        assert options["model"] == "fake"
        assert not {"compressor", "fetch_parent"} & set(options)
        again = CPRSNodePostprocessor.from_dict(options, compressor=fake, fetch_parent={}.get)
        assert again.compressor is fake


PARENTS = [Document(text=f"Drop {i}. I keep {i}.", id_=i, metadata={"n": i}) for i in "abc"]


class TestParents:
    def chunk(self, id_: str, score: float | None) -> NodeWithScore:
        source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=id_)}
        return NodeWithScore(node=TextNode(text="chunk", relationships=source), score=score)

    @both
    @pytest.mark.parametrize("from_store", [False, True])
    def test_each_once_in_the_order_of_the_chunks(self, fake: FakeCompressor, from_store: bool, asynchronous: bool) -> None:
        store = SimpleDocumentStore()
        store.add_documents(PARENTS)
        before = copy.deepcopy(PARENTS)
        fetch_parent: Any = store if from_store else {document.id_: document for document in PARENTS}.get
        image = NodeWithScore(node=ImageNode(image_url="http://a/b.png"), score=0.1)
        given = [self.chunk("b", 0.5), image, self.chunk("a", None), self.chunk("b", 0.9), self.chunk("a", 0.3)]
        given_before = copy.deepcopy(given)
        adapter = CPRSNodePostprocessor(compressor=fake, strategy="parents", fetch_parent=fetch_parent)
        first, second, third = run(adapter, given, asynchronous)
        assert (first.node_id, first.score, text(first.node)) == ("b", 0.9, "I keep b.")
        assert first.node.metadata["n"] == "b"
        assert second is image
        assert (third.node_id, third.score, text(third.node)) == ("a", 0.3, "I keep a.")
        assert before == PARENTS
        assert given == given_before

    def test_larger_chunks_of_a_hierarchical_parser(self, fake: FakeCompressor) -> None:
        parser = HierarchicalNodeParser.from_defaults(chunk_sizes=[256, 32])
        parsed = parser.get_nodes_from_documents([Document(text=LONG * 20 + "I keep the end.")])
        store = SimpleDocumentStore()
        store.add_documents(parsed)
        leaves = [NodeWithScore(node=node, score=0.5) for node in get_leaf_nodes(parsed)]
        adapter = CPRSNodePostprocessor(compressor=fake, strategy="parents", parent_relation="parent", fetch_parent=store)
        results = run(adapter, leaves, False)
        assert 1 < len(fake.calls[0]["documents"]) < len(leaves)
        assert [text(result.node) for result in results] == ["I keep the end."]

    @both
    def test_missing_parents_and_relations_are_errors(
        self, fake: FakeCompressor, events: list[Any], asynchronous: bool
    ) -> None:
        for fetch_parent in (SimpleDocumentStore(), {}.get):
            adapter = CPRSNodePostprocessor(compressor=fake, strategy="parents", fetch_parent=fetch_parent)
            with pytest.raises(InputError, match="no parent 'a'"):
                run(adapter, [self.chunk("a", 0.5)], asynchronous)
        with pytest.raises(InputError, match="no SOURCE relationship"):
            run(adapter, [NodeWithScore(node=TextNode(text="orphan"))], asynchronous)
        assert not [event for event in events if isinstance(event, CompressionStartEvent)]


class TestWithLlamaIndex:
    """A real, tiny model (random weights) inside a query engine."""

    @pytest.fixture
    def documents(self) -> list[Document]:
        return [Document(text=f"{LONG}Part {i} ends.", id_=str(i), metadata={"n": i}) for i in range(4)]

    def query(self, documents: list[Document], adapter: CPRSNodePostprocessor, asynchronous: bool) -> Any:
        index = VectorStoreIndex.from_documents(
            documents,
            embed_model=MockEmbedding(embed_dim=8),
            transformations=[SentenceSplitter(chunk_size=64, chunk_overlap=0)],
        )
        engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=4, node_postprocessors=[adapter])
        if asynchronous:
            return asyncio.run(engine.aquery("When does it end?"))
        return engine.query("When does it end?")

    @both
    def test_query_engine(
        self, documents: list[Document], tiny_options: dict[str, Any], events: list[Any], asynchronous: bool
    ) -> None:
        response = self.query(documents, CPRSNodePostprocessor(**tiny_options, max_tokens=40), asynchronous)
        originals = {document.id_: document for document in documents}
        assert response.source_nodes
        assert sum(item.metadata["cprs"]["kept_tokens"] for item in response.source_nodes) <= 40
        for item in response.source_nodes:
            original = text(originals[item.node.source_node.node_id])
            start = item.node.start_char_idx
            pieces = [original[start + s : start + e] for s, e, *_ in item.metadata["cprs"]["spans"]]
            assert pieces
            assert all(piece in text(item.node) for piece in pieces)
            assert item.score is not None
            assert text(item.node) in str(response)  # the mock LLM answers with its prompt
        assert "spans" not in str(response)
        seen = [type(event) for event in events]
        assert seen.index(CompressionStartEvent) < seen.index(CompressionEndEvent)

    @both
    def test_parents_from_a_docstore(
        self, documents: list[Document], tiny_options: dict[str, Any], asynchronous: bool
    ) -> None:
        store = SimpleDocumentStore()
        store.add_documents(documents)
        adapter = CPRSNodePostprocessor(**tiny_options, ratio=0.5, keep_empty=True, strategy="parents", fetch_parent=store)
        response = self.query(documents, adapter, asynchronous)
        for item in response.source_nodes:
            assert item.metadata["cprs"]["original_length"] == len(text(documents[item.metadata["n"]]))
        ids = [item.node_id for item in response.source_nodes]
        assert len(ids) == len(set(ids))

    def test_one_model_for_many_adapters(self, tiny_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compressor, "_checkpoints", {})
        loads: list[Any] = []
        original = compressor.load

        def counted(*args: Any, **options: Any) -> Any:
            loads.append(args)
            return original(*args, **options)

        monkeypatch.setattr(compressor, "load", counted)
        adapters = [CPRSNodePostprocessor(**tiny_options, ratio=ratio) for ratio in (0.5, 0.9)]

        async def gather() -> None:
            given = [NodeWithScore(node=TextNode(text=LONG))]
            await asyncio.gather(*(adapter.apostprocess_nodes(given, query_str=QUERY) for adapter in adapters))

        asyncio.run(gather())
        assert len(loads) == 1


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, llamaindex_cprs as p; p.CPRSNodePostprocessor(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_extra_names_the_command() -> None:
    code = "import sys; sys.modules['llama_index'] = None; import llamaindex_cprs"
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "pip install 'cprs-core[llamaindex]'" in result.stderr
