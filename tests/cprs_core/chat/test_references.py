"""Originals in the stores that users have, and reading them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_classic.storage import LocalFileStore
from langchain_core.stores import InMemoryByteStore
from langchain_core.stores import InMemoryStore as AnyStore
from langgraph.store.memory import InMemoryStore
from llama_index.core.storage.kvstore import SimpleKVStore
from pydantic import ValidationError
from words import KEPT, LONG, WordCompressor

from cprs_core import InputError
from cprs_core.chat.options import AgentOptions
from cprs_core.chat.reading import OriginalReader, page
from cprs_core.chat.references import References
from cprs_core.chat.shorten import NOTHING

STORES: dict[str, Callable[[Path], Any]] = {
    "langgraph": lambda _: InMemoryStore(),
    "langchain bytes": lambda _: InMemoryByteStore(),
    "langchain": lambda _: AnyStore(),
    "langchain files": LocalFileStore,
    "llamaindex": lambda _: SimpleKVStore(),
    "dictionary": lambda _: {},
}
TEXTS = ["plain", "", "Zeilen\nund 图书馆 😀", "half a pair: \ud83d"]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return STORES[request.param](tmp_path)


async def test_what_is_put_is_got_again(store: Any) -> None:
    references = References(store, ("cprs", "ann"))
    for text in TEXTS:
        references.put(text)
        await references.aput(text + "!")
    again = References(store, ("cprs", "ann"))
    for text in TEXTS:
        assert again.get(again.key(text)) == await again.aget(again.key(text)) == text
        assert again.get(again.key(text + "!")) == text + "!"
    with pytest.raises(InputError, match="no original with the reference 'cprs-0'"):
        references.get("cprs-0")
    with pytest.raises(InputError, match="no original"):
        await references.aget("cprs-0")


def test_namespaces_are_apart() -> None:
    for make in (InMemoryStore, InMemoryByteStore, SimpleKVStore):
        store = make()
        References(store, ("cprs", "ann")).put("secret")
        with pytest.raises(InputError):
            References(store, ("cprs", "bob")).get(References.key("secret"))


def test_the_same_text_has_one_reference() -> None:
    store: dict[str, str] = {}
    references = References(store)
    for text in ("a", "b", "a"):
        references.put(text)
    assert store == {References.key("a"): "a", References.key("b"): "b"}
    assert f"{References.key('a')!r}" in references.hint(References.key("a"), 3, 9)


@pytest.mark.parametrize(("store", "namespace"), [(3, ("a",)), ([], ("a",)), ({}, ()), ({}, ("",))])
def test_what_is_no_store_is_refused_at_once(store: Any, namespace: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match=r"must (be|have)"):
        AgentOptions(store=store, namespace=namespace)


class TestReading:
    @pytest.fixture
    def compressor(self) -> WordCompressor:
        return WordCompressor()

    @pytest.fixture
    def reader(self, compressor: WordCompressor) -> OriginalReader:
        store = {References.key(text): text for text in (LONG, "Nothing.")}
        return OriginalReader(AgentOptions(compressor=compressor, store=store, max_tokens=7))

    async def test_some_of_it_or_all(self, reader: OriginalReader) -> None:
        key = References.key(LONG)
        assert reader.read(key) == await reader.aread(key) == LONG
        assert reader.read(key, start=3, length=7) == await reader.aread(key, start=3, length=7)
        assert reader.read(key, start=3, length=7) == f"{LONG[3:10]}\n[characters 3 to 10 of {len(LONG)}]"

    async def test_what_it_says_about_a_question(self, reader: OriginalReader, compressor: WordCompressor) -> None:
        assert reader.read(References.key(LONG), "Which one?") == KEPT
        assert await reader.aread(References.key(LONG), "Which one?") == KEPT
        assert reader.read(References.key("Nothing."), "Which one?") == NOTHING
        assert [(call["query"], call["max_tokens"]) for call in compressor.calls] == [("Which one?", 7)] * 3
        assert [call.get("asynchronous", False) for call in compressor.calls] == [False, True, False]

    def test_it_needs_a_store(self) -> None:
        with pytest.raises(InputError, match="there is none"):
            OriginalReader(AgentOptions())

    @given(st.text(), st.integers(0, 30), st.integers(1, 30))
    def test_pages_put_together_are_the_text(self, text: str, start: int, length: int) -> None:
        some = page(text, start, length)
        assert some.startswith(text[start : start + length])
        assert (some == text) == (text[start : start + length] == text)

    @pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, 0)])
    def test_pages_that_make_no_sense_are_refused(self, start: int, length: int) -> None:
        with pytest.raises(InputError, match="start must be 0 or more"):
            page("text", start, length)
