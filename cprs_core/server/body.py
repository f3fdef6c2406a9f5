"""A body, read as a whole before anything is done for it: within its size and time, and with no more values than it needs.

A body on its way takes no place among the requests at work, so clients that send slowly hold nobody up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from ..errors import LimitError
from .settings import Settings
from .ticket import Gone

_MARKS = b"[]{},:"
_FEW = 2**20  # bytes that are looked through faster than a thread takes them over


def check_head(headers: Headers, settings: Settings) -> None:
    """Refuses a body that need not be read to be refused.

    Raises:
        LimitError, HTTPException 415.
    """
    length = headers.get("content-length", "0")
    if length.isdecimal() and (len(length) > 18 or int(length) > settings.max_body):
        raise _too_large(settings)
    if headers.get("content-encoding", "identity") != "identity":
        raise HTTPException(415, "a body cannot be compressed here; send it without Content-Encoding")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise HTTPException(415, "a body must be JSON; send it with the header Content-Type: application/json")


async def read(receive: Receive, settings: Settings, take: Callable[[int], None]) -> bytes:
    """The whole body.

    Args:
        take: called with the bytes of each part as they come.

    Raises:
        LimitError: too many bytes or values. HTTPException 408: too slow. Gone: the client has hung up.
    """
    parts: list[bytes] = []
    size, until = 0, time.monotonic() + settings.body_timeout
    while True:
        try:
            message = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
        except TimeoutError:
            raise HTTPException(408, f"the body did not arrive within {settings.body_timeout:g} s") from None
        if message["type"] == "http.disconnect":
            raise Gone("the client has hung up")
        part = message.get("body", b"")
        size += len(part)
        if size > settings.max_body:
            raise _too_large(settings)
        take(len(part))
        parts.append(part)
        if not message.get("more_body", False):
            break
    body = b"".join(parts)
    most = max(100_000, 20 * settings.max_documents)
    if size < _FEW:
        check_values(body, most)
    else:
        await asyncio.to_thread(check_values, body, most)
    return body


def whole(body: bytes, receive: Receive) -> Receive:
    """``receive`` for the application: the body, then whatever comes."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay


def check_values(body: bytes, most: int) -> None:
    """Refuses JSON with more values than a request can need. What parsing costs is values, not bytes: millions of them in
    a few megabytes would stop the whole process for seconds, in whatever thread they were parsed.

    Args:
        most: brackets, commas and colons outside of strings, and strings.

    Raises:
        LimitError: there are more.
    """
    if _marks(body) <= most and body.count(b'"') <= most:  # even if none of them were inside a string
        return
    bare = body.replace(rb"\\", b"").replace(rb"\"", b"")
    if bare.count(b'"') > 2 * most or _marks(b"".join(bare.split(b'"')[::2])) > most:
        raise LimitError(f"a body may have about {most // 2:,} values; send text in fewer strings, and nothing beside")


def _marks(body: bytes) -> int:
    return len(body) - len(body.translate(None, _MARKS))


def _too_large(settings: Settings) -> LimitError:
    return LimitError(f"a body may have {settings.max_body:,} bytes; send less text at once")
