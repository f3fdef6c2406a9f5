"""The component in Haystack's own pipelines."""

from __future__ import annotations

import pytest
from fakes import FakeCompressor
from haystack import Document, Pipeline
from haystack.components.retrievers import InMemoryBM25Retriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from pydantic import ValidationError

from cprs_core import CprsError, InputError, Instruction
from cprs_core.integrations.haystack import CPRSDocumentCompressor

TEXT = "It rained. Please keep the lease. Nobody came."
QUERY = "Where do they keep the lease?"


def documents():
    return [
        Document(id="a", content=TEXT, meta={"page": 3}, score=0.5),
        Document(id="b", content="Nothing of it matters."),
        Document(id="c", content="Do keep this."),
    ]


def pipeline(**options):
    store = InMemoryDocumentStore()
    store.write_documents(documents())
    made = Pipeline()
    made.add_component("retriever", InMemoryBM25Retriever(store))
    made.add_component("compressor", CPRSDocumentCompressor(**options))
    made.connect("retriever.documents", "compressor.documents")
    return made


DATA = {"retriever": {"query": QUERY}, "compressor": {"query": QUERY}}


def test_in_a_pipeline():
    fake = FakeCompressor()
    found = pipeline(compressor=fake, max_tokens=50).run(DATA)["compressor"]["documents"]
    assert {(document.id, document.content) for document in found} == {
        ("a", "Please keep the lease."),
        ("c", "Do keep this."),
    }
    (first,) = (document for document in found if document.id == "a")
    assert first.meta["page"] == 3 and first.score is not None
    note = first.meta["cprs"]
    assert note["model"] == "fake" and note["original_length"] == len(TEXT)
    assert [TEXT[start:end] for start, end, *_ in note["spans"]] == ["Please keep the lease."]
    (call,) = fake.calls
    assert call["query"] == QUERY and call["max_tokens"] == 50


async def test_in_an_asynchronous_pipeline():
    fake = FakeCompressor()
    found = await pipeline(compressor=fake).run_async(DATA)
    assert len(found["compressor"]["documents"]) == 2 and fake.calls[0]["asynchronous"]


def test_documents_are_copies_and_those_without_a_text_pass():
    given = [*documents(), Document(id="d", meta={"image": 1})]
    before = [document.to_dict() for document in given]
    component = CPRSDocumentCompressor(keep_empty=True, meta_key="note", compressor=FakeCompressor())
    found = component.run(query=QUERY, documents=given)["documents"]
    assert [document.to_dict() for document in given] == before
    assert [(document.id, document.content) for document in found] == [
        ("a", "Please keep the lease."), ("b", ""), ("c", "Do keep this."), ("d", None),
    ]  # fmt: skip
    assert found[3] == given[3] and found[1].meta["note"]["spans"] == []
    assert component.run(query=QUERY, documents=[])["documents"] == []


def test_a_pipeline_that_was_saved_does_the_same(tiny_path):
    options = {"model": str(tiny_path), "device": "cpu", "window_size": 256, "max_tokens": 8, "keep_empty": True}
    made = pipeline(**options, instruction=Instruction.answer())
    again = Pipeline.loads(made.dumps(), allowed_modules=["cprs_core.integrations.haystack"])
    component = again.get_component("compressor")
    assert component.to_dict() == made.get_component("compressor").to_dict()
    given = documents()
    found = [one.run(query=QUERY, documents=given)["documents"] for one in (component, made.get_component("compressor"))]
    assert found[0] == found[1] and any(document.content for document in found[0])
    assert sum(document.meta["cprs"]["kept_tokens"] for document in found[0]) <= 8


def test_no_secret_is_saved():
    component = CPRSDocumentCompressor(url="http://127.0.0.1:9", api_key="a secret of ours")
    assert "secret" not in str(component.to_dict()) and component.to_dict()["init_parameters"]["url"] == "http://127.0.0.1:9"


def test_warming_up_finds_the_compressor_and_making_a_component_does_not(monkeypatch):
    calls = []
    monkeypatch.setattr("cprs_core.adapters.resolve_compressor", lambda options: calls.append(options) or FakeCompressor())
    component = CPRSDocumentCompressor()
    assert not calls
    component.warm_up()
    assert len(calls) == 1


@pytest.mark.parametrize(
    "options", [{"max_tokens": 0}, {"max_tokens": 3, "ratio": 0.5}, {"instruction": "sentense"}, {"max_token": 3}]
)
def test_bad_options_are_refused(options):
    with pytest.raises((ValidationError, CprsError)):
        CPRSDocumentCompressor(**options)


def test_an_empty_query_is_refused():
    with pytest.raises(InputError, match="query is empty"):
        CPRSDocumentCompressor(compressor=FakeCompressor()).run(query=" ", documents=documents())
