"""Requests in threads: how many at once, how long each may take, and how all of them end.

The event loop only reads, waits and writes, so that ``/health`` answers whatever the model does.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any, TypeVar

from starlette.requests import Request

from ..compressor import ContextCompressor
from ..errors import BusyError, ServiceError
from .metrics import Metrics
from .scheduler import SharedEngine
from .settings import Settings
from .ticket import Gone, Ticket, current

T = TypeVar("T")
BEAT = 15.0  # seconds after which a silent stream shows that it lives, so that no proxy cuts it off


class Service:
    """Args:
    compressor: the one to share; it stays as it is, a copy of it gets the shared engine.
    """

    def __init__(self, compressor: ContextCompressor, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.engine = SharedEngine(compressor.engine, on_batch=self.metrics.batch)
        self.compressor = copy.copy(compressor)
        self.compressor.engine = self.engine
        self._pool = ThreadPoolExecutor(settings.max_in_flight, "cprs-request")
        self._tickets: set[Ticket] = set()
        self._work: dict[Ticket, Future[object]] = {}
        self._stopping = False
        self._bytes = 0  # of all bodies
        self.metrics.watch(lambda: self.engine.queued, lambda: len(self._tickets))

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return self.engine.alive and not self._stopping

    def check_room(self) -> None:
        """Raises why a request has no place, if so.

        Raises:
            BusyError: all places are taken. ServiceError: the service is shutting down.
        """
        if not self.ready:
            raise ServiceError("the service is shutting down; try again later, or elsewhere")
        if len(self._tickets) >= self.settings.max_in_flight:
            raise BusyError(
                f"the service works on {self.settings.max_in_flight} requests already; try again in a moment, or raise "
                "--max-in-flight"
            )

    @contextmanager
    def held(self) -> Iterator[Callable[[int], None]]:
        """Counts bytes of a body among those of all bodies, until its request is done.

        Raises:
            BusyError: there are too many.
        """
        own = 0

        def take(number: int) -> None:
            nonlocal own
            own += number
            self._bytes += number
            if self._bytes > self.settings.max_bodies:
                raise BusyError(
                    f"the service holds {self.settings.max_bodies:,} bytes of requests already; try again in a moment, or "
                    "raise --max-bodies-mb"
                )

        try:
            yield take
        finally:
            self._bytes -= own

    @contextmanager
    def admit(self, seconds: float | None) -> Iterator[Ticket]:
        """A place among the requests at once, held until the request is answered and its thread has stopped. Raises as
        :meth:`check_room`."""
        self.check_room()
        ticket = Ticket(min(seconds or self.settings.deadline, self.settings.deadline))
        self._tickets.add(ticket)
        before = current.set(ticket)
        try:
            yield ticket
        finally:
            current.reset(before)
            if (work := self._work.pop(ticket, None)) is None:
                self._tickets.discard(ticket)
            else:
                ticket.cancel(Gone("the request has ended"))
                work.add_done_callback(lambda _: self._tickets.discard(ticket))

    async def run(self, request: Request, function: Callable[[], T]) -> T:
        """Runs ``function`` in a thread until it is done, the request's deadline, or the client hangs up.

        Raises:
            DeadlineError, Gone, or what the function raises.
        """
        ticket = current.get()
        work = asyncio.wrap_future(self._submit(ticket, function))
        gone = asyncio.ensure_future(_hang_up(request))
        try:
            both: list[asyncio.Future[Any]] = [work, gone]
            await asyncio.wait(both, timeout=ticket.left(), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            ticket.cancel(Gone("the client has hung up") if gone.done() else ticket.late())
            work.add_done_callback(lambda done: done.cancelled() or done.exception())  # it has been reported
            raise ticket.reason()
        finally:
            gone.cancel()
            del work, both  # an error in them would hold this frame, and with it all of the request

    async def stream(self, function: Callable[[Callable[[T], None]], None]) -> AsyncIterator[T | None]:
        """What ``function`` hands to its argument in a thread, as it comes, and None whenever nothing came for a while.
        Closing this ends the work."""
        ticket, loop = current.get(), asyncio.get_running_loop()
        items: asyncio.Queue[tuple[bool, T | BaseException | None]] = asyncio.Queue()

        def put(more: bool, item: T | BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(items.put_nowait, (more, item))

        def work() -> None:
            try:
                function(lambda item: put(True, item))
                put(False, None)
            except Gone:
                pass  # nobody takes it
            except BaseException as error:
                put(False, error)

        self._submit(ticket, work)
        item: T | BaseException | None
        try:
            while True:
                try:
                    more, item = await asyncio.wait_for(items.get(), min(BEAT, ticket.left() or 0))
                except TimeoutError:
                    ticket.check()
                    yield None
                    continue
                if more:
                    yield item  # type: ignore[misc]
                elif isinstance(item, BaseException):
                    raise item
                else:
                    return
        finally:
            item = None  # as in run
            ticket.cancel(Gone("nobody reads the stream any more"))

    async def drain(self) -> None:
        """Takes no more requests, and gives those that there are the grace to finish; then they fail."""
        self._stopping = True
        until = time.monotonic() + self.settings.grace
        while self._tickets and time.monotonic() < until:
            await asyncio.sleep(0.02)
        for ticket in list(self._tickets):
            ticket.cancel(ServiceError("the service has shut down before the request was done; send it again, or elsewhere"))

    def close(self) -> None:
        """Ends all work and all threads."""
        self._stopping = True
        self.engine.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, ticket: Ticket, function: Callable[[], T]) -> Future[T]:
        context = copy_context()

        def work() -> T:
            ticket.check()
            return context.run(function)

        future = self._pool.submit(work)
        self._work[ticket] = future  # type: ignore[assignment]
        return future


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
