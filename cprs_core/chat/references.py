"""The originals of compressed texts: stored under a reference, and read again by an agent's tool."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping, Sequence
from hashlib import sha256
from typing import Any, Protocol

from ..errors import InputError

TOOL = "read_original"  # the name of the tool that reads them


class _Store(Protocol):
    """A key-value store, one of those below."""

    def put(self, key: str, text: str) -> None: ...

    def get(self, key: str) -> Any: ...

    async def aput(self, key: str, text: str) -> None: ...

    async def aget(self, key: str) -> Any: ...


class References:
    """Originals in a store. The reference of a text is a hash of it: the same text is stored once.

    Args:
        store: a LangGraph store, a byte store of LangChain, a key-value store of LlamaIndex, or a dictionary.
        namespace: where in the store they are (not for dictionaries; LangGraph's has parts, others join them with ``/``).

    Raises:
        InputError: the store is none of these, or the namespace is empty.
    """

    def __init__(self, store: Any, namespace: Sequence[str] = ("cprs",)) -> None:
        names = (namespace,) if isinstance(namespace, str) else tuple(namespace)
        if not names or not all(names):
            raise InputError(f"the namespace must have a name or more, got {namespace!r}; for example ('cprs', user)")
        self._store = _store(store, names)

    @staticmethod
    def key(text: str) -> str:
        """The reference of a text."""
        return "cprs-" + sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    @staticmethod
    def hint(key: str, kept: int, read: int) -> str:
        """What is added to a compressed text, so that an agent can find the original."""
        return f"\n[{kept} of {read} tokens kept; the original: {TOOL}({key!r})]"

    def put(self, text: str) -> None:
        """Stores a text."""
        self._store.put(self.key(text), text)

    async def aput(self, text: str) -> None:
        """:meth:`put`."""
        await self._store.aput(self.key(text), text)

    def get(self, key: str) -> str:
        """The text with this reference.

        Raises:
            InputError: there is none.
        """
        return _found(key, self._store.get(key))

    async def aget(self, key: str) -> str:
        """:meth:`get`."""
        return _found(key, await self._store.aget(key))


def _found(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("text")
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogatepass")
    if not isinstance(value, str):
        raise InputError(f"there is no original with the reference {key!r}; copy it from the end of a compressed text")
    return value


def _store(store: Any, names: tuple[str, ...]) -> _Store:
    if hasattr(store, "mset"):
        return _Bytes(store, "/".join(names))
    if hasattr(store, "get_all") and hasattr(store, "aput"):
        return _Collection(store, "/".join(names))
    if hasattr(store, "batch") and hasattr(store, "aput"):
        return _Namespace(store, names)
    if isinstance(store, MutableMapping):
        return _Dictionary(store)
    raise InputError(
        "store must be a LangGraph store, a byte store of LangChain, a key-value store of LlamaIndex or a dictionary, got "
        f"{type(store).__name__}"
    )


class _Namespace:
    """``langgraph.store.base.BaseStore``."""

    def __init__(self, store: Any, names: tuple[str, ...]) -> None:
        self._store, self._names = store, names

    def put(self, key: str, text: str) -> None:
        self._store.put(self._names, key, {"text": text}, index=False)

    def get(self, key: str) -> Any:
        return getattr(self._store.get(self._names, key), "value", None)

    async def aput(self, key: str, text: str) -> None:
        await self._store.aput(self._names, key, {"text": text}, index=False)

    async def aget(self, key: str) -> Any:
        return getattr(await self._store.aget(self._names, key), "value", None)


class _Bytes:
    """``langchain_core.stores.ByteStore``."""

    def __init__(self, store: Any, prefix: str) -> None:
        self._store, self._prefix = store, prefix

    def put(self, key: str, text: str) -> None:
        self._store.mset([self._pair(key, text)])

    def get(self, key: str) -> Any:
        return self._store.mget([f"{self._prefix}/{key}"])[0]

    async def aput(self, key: str, text: str) -> None:
        await self._store.amset([self._pair(key, text)])

    async def aget(self, key: str) -> Any:
        return (await self._store.amget([f"{self._prefix}/{key}"]))[0]

    def _pair(self, key: str, text: str) -> tuple[str, bytes]:
        return f"{self._prefix}/{key}", text.encode("utf-8", "surrogatepass")


class _Collection:
    """``llama_index.core.storage.kvstore.types.BaseKVStore``."""

    def __init__(self, store: Any, name: str) -> None:
        self._store, self._name = store, name

    def put(self, key: str, text: str) -> None:
        self._store.put(key, {"text": text}, collection=self._name)

    def get(self, key: str) -> Any:
        return self._store.get(key, collection=self._name)

    async def aput(self, key: str, text: str) -> None:
        await self._store.aput(key, {"text": text}, collection=self._name)

    async def aget(self, key: str) -> Any:
        return await self._store.aget(key, collection=self._name)


class _Dictionary:
    """Anything like a ``dict``."""

    def __init__(self, store: MutableMapping[str, Any]) -> None:
        self._store = store

    def put(self, key: str, text: str) -> None:
        self._store[key] = text

    def get(self, key: str) -> Any:
        return self._store.get(key)

    async def aput(self, key: str, text: str) -> None:
        await asyncio.to_thread(self.put, key, text)

    async def aget(self, key: str) -> Any:
        return await asyncio.to_thread(self.get, key)
