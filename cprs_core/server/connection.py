"""A connection that moves on or ends: no client holds one for ever, and none is refused while others only wait.

uvicorn ends connections that are idle between requests. Added here: a time for the head of a request to arrive, a time
for an answer to be taken, and a number of connections, beyond which those go first that have kept us waiting longest.
How long a body may take is up to :mod:`.body`, how long the work may take to the request's deadline.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import BusyError
from . import problems

if TYPE_CHECKING:
    from .settings import Settings


class Connection(H11Protocol):
    """Args:
    settings: ``headers_timeout``, ``body_timeout`` and ``max_connections`` count here.
    """

    def __init__(self, *args: Any, settings: Settings, **options: Any) -> None:
        super().__init__(*args, **options)
        self._settings = settings
        self._since = self.loop.time()  # when it began to wait for a request
        self._waiting: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that we hear of everything that is not taken at once
        self._wait()
        if len(self.connections) > self._settings.max_connections:
            others = (other for other in self.connections if isinstance(other, Connection) and other.is_waiting)
            # This one waits, too, so there is always one; it is the last to go.
            min(others, key=lambda other: other._since).turn_away()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self._waiting, self._writing):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._at_work and self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._at_work:  # it may have sent the next request already
            self._wait()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self.loop.call_later(self._settings.body_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()

    @property
    def is_waiting(self) -> bool:
        """Whether it is the client's turn: the next request is not there, or not all of it."""
        return not self._at_work or self.cycle.more_body

    def turn_away(self) -> None:
        """Closes it for want of room, with an answer if none is on its way."""
        if self.cycle is None:
            self._answer(
                BusyError("the service has too many connections open; try again in a moment, or raise --max-connections")
            )
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets a problem, too."""
        status = getattr(sys.exc_info()[1], "error_status_hint", 400)
        self._answer(HTTPException(status, "this is no HTTP/1.1 request that can be read, or its head is too long"))

    @property
    def _at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._since = self.loop.time()
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = self.loop.call_later(self._settings.headers_timeout, self._late)

    def _late(self) -> None:
        if self.conn.trailing_data[0]:  # a part of a request is there
            seconds = self._settings.headers_timeout
            self._answer(HTTPException(408, f"the head of the request did not arrive within {seconds:g} s"))
        else:
            self.transport.close()

    def _answer(self, error: Exception) -> None:
        """Answers what never became a request, and closes."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # an answer has begun already
            self.transport.abort()
            return
        response = problems.response(error, uuid.uuid4().hex)
        status, headers = response.status_code, [*response.raw_headers, (b"connection", b"close")]
        head = h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode())
        for event in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
