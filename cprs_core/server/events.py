"""Answers in parts: server-sent events of work that goes on in a thread."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from ..errors import CprsError
from . import problems
from .service import Service
from .ticket import Gone

Event = tuple[str, dict[str, Any]]
Emit = Callable[[Event], None]
EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}
"""What the description of a route says of them."""

_UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def events(request: Request, work: Callable[[Emit], None]) -> StreamingResponse:
    """The events that ``work`` emits in a thread; an error of it is the last one, ``error`` with a problem."""
    service: Service = request.app.state.service
    lines = _lines(service.stream(work), request.scope["cprs.id"])
    return StreamingResponse(lines, media_type="text/event-stream", headers=_UNBUFFERED)


def dump(value: Any) -> bytes:
    """A value as JSON."""
    return json.dumps(value, ensure_ascii=False).encode()


async def _lines(found: AsyncIterator[Event | None], request_id: str) -> AsyncIterator[bytes]:
    async with aclosing(found) as items:  # type: ignore[type-var]
        try:
            async for item in items:
                yield _event(*item) if item else b": at work\n\n"
        except Gone:
            return
        except Exception as error:
            if not isinstance(error, CprsError):
                problems.log_fault(request_id, error)
            yield _event("error", problems.content(error, request_id))


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\n".encode() + b"data: " + dump(data) + b"\n\n"
