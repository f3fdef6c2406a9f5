"""AsyncCprsClient: the asynchronous twin of CprsClient (extra ``server``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from . import wire
from .client import Client
from .instruction import check_text
from .result import Compression, Span

if TYPE_CHECKING:
    import httpx


class AsyncCprsClient(Client):
    """:class:`CprsClient` for ``await`` and ``async for``: the same methods, without threads."""

    def __init__(self, url: str, *, api_key: str | None = None, timeout: float = 600.0, retries: int = 4) -> None:
        super().__init__(url, api_key=api_key, timeout=timeout, retries=retries)
        import httpx

        self._http = httpx.AsyncClient(**self._options)

    async def model_name(self) -> str:
        """The model that is served."""
        if not self._model:
            self._model = wire.parsed((await self._send("GET", "/v1/models")).content)["data"][0]["id"]
        return self._model

    async def compress(self, text: str, query: str, instruction: Any = None, **limits: Any) -> Compression:
        """As :meth:`ContextCompressor.compress`; limits are max_tokens, ratio and threshold."""
        return (await self.compress_documents([text], query, instruction, **limits))[0]

    async def compress_documents(
        self, documents: Sequence[str], query: str, instruction: Any = None, **limits: Any
    ) -> list[Compression]:
        """As :meth:`ContextCompressor.compress_documents`."""
        body = wire.documents(documents, query, instruction, limits)
        return wire.results((await self._send("POST", "/v1/compress", body)).content, documents)

    async def compress_batch(
        self, pairs: Sequence[tuple[str, str]], instruction: Any = None, **limits: Any
    ) -> list[Compression]:
        """As :meth:`ContextCompressor.compress_batch`."""
        body = wire.pairs(pairs, instruction, limits)
        return wire.results((await self._send("POST", "/v1/compress", body)).content, [text for text, _ in pairs])

    async def stream(
        self, text: str, query: str, instruction: Any = None, *, threshold: float | None = None
    ) -> AsyncIterator[Span]:
        """As :meth:`ContextCompressor.astream`. Closing the iterator ends the work in the service."""
        import httpx

        reply = await self._send("POST", "/v1/compress", wire.stream(text, query, instruction, threshold), stream=True)
        try:
            parse = wire.Events()
            async for line in reply.aiter_lines():
                for span in parse(line):
                    yield span
            parse.end()
        except httpx.TransportError as error:
            raise self._unreached(error) from error
        finally:
            await reply.aclose()

    async def count_tokens(self, text: str) -> int:
        """Tokens of a text, counted as budgets are."""
        check_text("text", text)
        return int(wire.parsed((await self._send("POST", "/v1/tokens", {"text": text})).content)["tokens"])

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, method: str, path: str, body: Any = None, *, stream: bool = False) -> httpx.Response:
        import httpx

        for attempt in range(self._retries + 1):
            try:
                request = self._http.build_request(method, path, **wire.content(body))
                reply = await self._http.send(request, stream=stream)
                if reply.is_success:
                    return reply
                failure = wire.failure(reply.status_code, await reply.aread())
                pause = self._pause(attempt, failure, reply)
                await reply.aclose()
            except httpx.TransportError as error:
                failure = self._unreached(error)
                pause = self._pause(attempt, failure, None)
            if pause is None:
                break
            await asyncio.sleep(pause)
        raise failure
