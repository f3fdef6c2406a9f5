"""What every request passes: an id; a key; a body within limits; a place among those at work; a line in the log.

Plain ASGI, so that streams and disconnects go through untouched.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
import uuid
from collections.abc import Collection
from contextlib import ExitStack, suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import AuthError, CprsError, InputError
from . import body, playground, problems
from .service import Service
from .ticket import Gone
from .tracing import span

_logger = logging.getLogger("cprs_core.server")
OPEN = ("/health", "/ready")
_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
_CLOSED = 499  # what logs and metrics say of a client that hung up
_LINGER = 2.0  # seconds that a client has to notice that it has been refused


class Gate:
    """Args:
    posts: the paths that take a body.
    """

    def __init__(self, app: ASGIApp, service: Service, posts: Collection[str]) -> None:
        self._app, self._service, self._posts = app, service, posts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, whole = time.perf_counter(), 0, False
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        scope["cprs.id"] = request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex

        async def incoming() -> Message:
            nonlocal whole
            message = await receive()
            whole = not message.get("more_body", False)
            return message

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            with ExitStack() as stack:
                stack.enter_context(span("cprs.request", {"cprs.request_id": request_id}, headers))
                await self._app(scope, await self._enter(scope, headers, incoming, stack), answer)
        except Gone:
            status = _CLOSED
        except asyncio.CancelledError:
            status = status or _CLOSED
            raise
        except Exception as error:
            if not isinstance(error, (CprsError, HTTPException)):
                problems.log_fault(request_id, error)
            if not status:
                response = problems.response(error, request_id)
                await (response(scope, receive, answer) if whole else _refuse(response, incoming, answer))
        finally:
            seconds = time.perf_counter() - began
            refused = scope["path"] if scope["path"] in self._posts else "other"
            route = scope["route"].path if "route" in scope else refused
            self._service.metrics.request(route, status, seconds)
            level = logging.DEBUG if scope["path"] in OPEN else logging.INFO
            _logger.log(level, "%s %s %s %d %.3f s", request_id, scope["method"], route, status, seconds)

    async def _enter(self, scope: Scope, headers: Headers, receive: Receive, stack: ExitStack) -> Receive:
        """Refuses whom it has to, as early as can be; then reads the body, and gives the request its place."""
        if scope["path"] in OPEN or scope["method"] == "OPTIONS":
            return receive
        service = self._service
        if service.settings.playground and playground.serves(scope["method"], scope["path"]):
            return receive
        if not service.settings.keys.allow(headers.get("authorization", "").encode("latin-1")):
            raise AuthError("the API key is missing or wrong; send one in the header Authorization: Bearer KEY")
        if scope["method"] != "POST" or scope["path"] not in self._posts:
            return receive
        seconds = _seconds(headers.get("x-request-timeout"))
        service.check_room()
        body.check_head(headers, service.settings)
        content = await body.read(receive, service.settings, stack.enter_context(service.held()))
        stack.enter_context(service.admit(seconds))
        return body.whole(content, receive)


async def _refuse(response: Response, receive: Receive, send: Send) -> None:
    """Answers a request whose body may still be on its way, and closes the connection. Done at once, that would take the
    answer along, so what comes is dropped for a moment."""
    response.headers["Connection"] = "close"
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            while (await receive()).get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b""})


def _seconds(value: str | None) -> float | None:
    try:
        seconds = None if value is None else float(value)
    except ValueError:
        seconds = math.nan
    if seconds is not None and not 0 < seconds < math.inf:
        raise InputError("X-Request-Timeout must be a number of seconds over 0")
    return seconds
