"""What every request passes: an id; a key and a place before its body is read; a body within limits; a line in the log.

Plain ASGI, so that streams and disconnects go through untouched.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
import uuid
from contextlib import ExitStack

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import AuthError, CprsError, InputError, LimitError
from . import playground, problems
from .service import Service
from .ticket import Gone
from .tracing import span

_logger = logging.getLogger("cprs_core.server")
OPEN = ("/health", "/ready")
_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
_CLOSED = 499  # what logs and metrics say of a client that hung up


class Gate:
    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        scope["cprs.id"] = request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            with ExitStack() as stack:
                self._enter(scope, headers, stack)
                stack.enter_context(span("cprs.request", {"cprs.request_id": request_id}, headers))
                await self._app(scope, self._limited(headers, receive), answer)
        except Gone:
            status = _CLOSED
        except asyncio.CancelledError:
            status = status or _CLOSED
            raise
        except Exception as error:
            if not isinstance(error, (CprsError, HTTPException)):
                problems.log_fault(request_id, error)
            if not status:
                await problems.response(error, request_id)(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "other")
            self._service.metrics.request(route, status, seconds)
            level = logging.DEBUG if scope["path"] in OPEN else logging.INFO
            _logger.log(level, "%s %s %s %d %.3f s", request_id, scope["method"], route, status, seconds)

    def _enter(self, scope: Scope, headers: Headers, stack: ExitStack) -> None:
        """Refuses whom it has to, before anything of the body is read."""
        if scope["path"] in OPEN or scope["method"] == "OPTIONS":
            return
        if self._service.settings.playground and playground.serves(scope["method"], scope["path"]):
            return
        if not self._service.settings.keys.allow(headers.get("authorization", "").encode("latin-1")):
            raise AuthError("the API key is missing or wrong; send one in the header Authorization: Bearer KEY")
        if scope["method"] == "POST":
            seconds = _seconds(headers.get("x-request-timeout"))
            length = headers.get("content-length", "0")
            if length.isdecimal() and int(length) > self._service.settings.max_body:
                raise self._too_large()
            stack.enter_context(self._service.admit(seconds))

    def _limited(self, headers: Headers, receive: Receive) -> Receive:
        """``receive``, but a body that is too long, or too long on its way, ends in an error."""
        settings = self._service.settings
        size, whole, until = 0, False, time.monotonic() + settings.body_timeout

        async def limited() -> Message:
            nonlocal size, whole
            if whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
            except TimeoutError:
                raise HTTPException(408, f"the body did not arrive within {settings.body_timeout:g} s") from None
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > settings.max_body:
                raise HTTPException(413, str(self._too_large()))
            return message

        return limited

    def _too_large(self) -> LimitError:
        return LimitError(f"a body may have {self._service.settings.max_body:,} bytes; send less text at once")


def _seconds(value: str | None) -> float | None:
    try:
        seconds = None if value is None else float(value)
    except ValueError:
        seconds = math.nan
    if seconds is not None and not 0 < seconds < math.inf:
        raise InputError("X-Request-Timeout must be a number of seconds over 0")
    return seconds
