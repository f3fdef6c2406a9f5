"""Bodies on their way: a request's as it comes in, the provider's answer as it goes out, and clients that hang up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import anyio
import httpx
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from .wire import Headers, Refused, end_to_end

_Result = TypeVar("_Result")


class Relay(StreamingResponse):
    """The provider's answer: its bytes as they come, and its connection closed when the client is gone."""

    def __init__(self, upstream: httpx.Response, headers: Headers) -> None:
        super().__init__(upstream.aiter_raw(), upstream.status_code)
        self.raw_headers = end_to_end(upstream.headers.raw) + headers
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._upstream.aclose()


async def read_body(request: Request, limit: int) -> bytes:
    """All of a body.

    Raises:
        Refused: it has more bytes than the limit.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refused(413, f"the request is larger than the {limit:,} bytes that the proxy takes (--max-body)")
    return bytes(body)


def upload(request: Request) -> tuple[AsyncIterator[bytes] | None, asyncio.Event]:
    """The body of a request that is passed on as it comes, and what tells that all of it came."""
    received = asyncio.Event()
    if not {"content-length", "transfer-encoding"} & {*request.headers}:
        received.set()
        return None, received

    async def chunks() -> AsyncIterator[bytes]:
        async for chunk in request.stream():
            yield chunk
        received.set()

    return chunks(), received


async def unless_gone(request: Request, received: asyncio.Event, work: Awaitable[_Result]) -> _Result:
    """The result of some work, which is cancelled if the client hangs up before it is done.

    Args:
        received: set once all of the request's body has been read.

    Raises:
        ClientDisconnect: it did.
    """

    async def gone() -> None:
        await received.wait()
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        watching.cancel()
