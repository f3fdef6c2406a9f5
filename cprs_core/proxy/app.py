"""The HTTP side: reads a request, has its messages compressed, and relays the provider's answer as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import httpx
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from ..chat.shorten import ChatCompressor, Shortener
from ..chat.shrink import Plan, Shrinker, Statistics
from ..errors import InputError
from .relay import Relay, read_body, unless_gone, upload
from .request import Chat
from .settings import Settings
from .wire import SWITCH, Headers, Refused, error_body, is_chat, request_headers, statistics_headers

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_CREDENTIALS = ("authorization", "x-api-key", "api-key")


def create_proxy(
    compressor: ChatCompressor, settings: Settings, *, transport: httpx.AsyncBaseTransport | None = None
) -> FastAPI:
    """The proxy as an ASGI application.

    Args:
        transport: how the provider is reached; None = over the network.
    """
    client = httpx.AsyncClient(
        transport=transport,
        timeout=httpx.Timeout(settings.timeout, connect=10.0),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
    )
    pool = ThreadPoolExecutor(settings.workers, "cprs")
    shortener = Shortener(lambda: compressor, settings.min_tokens, "raise" if settings.on_error == "fail" else "original")
    shrinker = Shrinker(shortener, settings.memory)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await client.aclose()
        pool.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(lifespan=lifespan, openapi_url=None, redirect_slashes=False)

    @app.api_route("/{_:path}", methods=_METHODS)
    async def relay(request: Request) -> Response:
        try:
            if is_chat(request.method, request.url.path):
                return await chat(request)
            return await forward(request, *upload(request), [])
        except Refused as refused:
            body = error_body(request.url.path, refused.status, str(refused))
            response = Response(body, refused.status, media_type="application/json")
            response.raw_headers += refused.headers
            return response
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it

    async def chat(request: Request) -> Response:
        body = await read_body(request, settings.max_body)
        received = asyncio.Event()
        received.set()
        if "content-encoding" in request.headers:  # no client does this; it is not for us to read
            return await forward(request, body, received, statistics_headers(Statistics(), 0))
        began = time.perf_counter()
        body, statistics = await unless_gone(request, received, shrunk(request, body))
        headers = statistics_headers(statistics, 1000 * (time.perf_counter() - began))
        return await forward(request, body, received, headers)

    async def shrunk(request: Request, body: bytes) -> tuple[bytes, Statistics]:
        def prepare() -> tuple[Chat, Plan]:
            try:
                chat = Chat.parse(body, request.headers.get(SWITCH.decode()), settings.limits)
            except InputError as error:
                raise Refused(400, str(error)) from error
            old = range(len(chat.messages) - settings.keep_recent)
            return chat, shrinker.plan(chat.messages, old, _secret(request))

        try:
            chat, plan = await asyncio.to_thread(prepare)
            if plan.new and chat.limits:
                await asyncio.get_running_loop().run_in_executor(pool, shrinker.run, plan, asdict(chat.limits))
            return await asyncio.to_thread(chat.body, plan.messages), plan.statistics
        except Refused:
            raise
        except Exception as error:
            failed = statistics_headers(Statistics("failed"), 0)
            raise Refused(500, "the messages could not be compressed; the proxy's log says why", failed) from error

    async def forward(request: Request, body: Any, received: asyncio.Event, headers: Headers) -> Response:
        sent = request_headers(request.headers.raw)
        if isinstance(body, bytes):
            sent = [(name, value) for name, value in sent if name != b"content-length"]
            sent.append((b"content-length", str(len(body)).encode()))
        upstream = httpx.Request(request.method, _url(settings.upstream, request), headers=sent, content=body)
        try:
            answer = await unless_gone(request, received, client.send(upstream, stream=True, auth=None))
        except httpx.TimeoutException as error:
            raise Refused(504, f"{settings.upstream} did not answer in time", headers) from error
        except httpx.TransportError as error:
            raise Refused(502, f"{settings.upstream} cannot be reached ({type(error).__name__})", headers) from error
        return Relay(answer, headers)

    return app


def _secret(request: Request) -> bytes:
    """What tells clients apart, so that nobody can find out what others have sent."""
    return sha256("\0".join(request.headers.get(name, "") for name in _CREDENTIALS).encode()).digest()


def _url(upstream: str, request: Request) -> httpx.URL:
    """The same path and query, escapes and all, at the provider."""
    base = httpx.URL(upstream)
    path = request.scope.get("raw_path") or request.url.path.encode()
    query = request.scope["query_string"]
    return base.copy_with(raw_path=base.raw_path.rstrip(b"/") + path + (b"?" + query if query else b""))
