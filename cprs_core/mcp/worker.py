"""Who compresses for the tools: a model in this process, or a service. Work ends when its call is cancelled."""

from __future__ import annotations

import asyncio
import copy
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from anyio import CapacityLimiter, to_thread

from ..async_client import AsyncCprsClient
from ..errors import CprsError
from ..result import Compression
from ..server.ticket import Gone, Ticket, current

if TYPE_CHECKING:
    from ..compressor import ContextCompressor
    from ..server.scheduler import SharedEngine

Report = Callable[[int, int | None], None]  # how far it is, and of how much if that is known; any thread may call it

AT_ONCE = 16  # calls that run; the rest wait
_BEAT = 1.0  # seconds between two signs of life of a service

_logger = logging.getLogger(__name__)


class Worker(Protocol):
    """Compresses texts for tools."""

    def warm_up(self) -> None:
        """Prepares for the first call, without waiting."""
        ...

    async def compress(self, text: str, report: Report, **options: Any) -> Compression:
        """Compresses one text.

        Args:
            options: the other arguments of :meth:`ContextCompressor.compress`.

        Raises:
            CprsError: what is wrong with the text or the options, or why it cannot be done.
        """
        ...

    def close(self) -> None:
        """Ends what is still at work, before the process ends."""
        ...


class Local:
    """A model in this process. Calls run in threads, their windows in common batches.

    Args:
        load: makes the compressor, before the first call is done. An error of it is an error of the call, and the next call
            tries again.
    """

    def __init__(self, load: Callable[[], ContextCompressor]) -> None:
        self._load = load
        self._made: ContextCompressor | None = None
        self._engine: SharedEngine | None = None
        self._lock = threading.Lock()
        self._limiter = CapacityLimiter(AT_ONCE)

    def warm_up(self) -> None:
        """Loads the model in a thread."""

        def load() -> None:
            try:
                self._compressor()
            except CprsError as error:
                _logger.warning("the model cannot be loaded, so no tool will work: %s", error)

        threading.Thread(target=load, name="cprs-load", daemon=True).start()

    async def compress(self, text: str, report: Report, **options: Any) -> Compression:
        ticket = Ticket()

        def work() -> Compression:
            current.set(ticket)  # the thread has a context of its own
            return self._compressor().compress(text, progress=report, **options)

        try:
            return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)
        finally:
            ticket.cancel(Gone("the call was cancelled"))

    def close(self) -> None:
        """Ends all work after the batch that runs; a model that is being loaded is waited for."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()

    def _compressor(self) -> ContextCompressor:
        from ..server.scheduler import SharedEngine  # torch

        with self._lock:
            if self._made is None:
                made = copy.copy(self._load())
                made.engine = self._engine = SharedEngine(made.engine)
                self._made = made
            return self._made


class Remote:
    """A service started with ``cprs serve``. Its key is in the environment variable ``CPRS_API_KEY``, if it wants one."""

    def __init__(self, url: str) -> None:
        self._client = AsyncCprsClient(url)

    def warm_up(self) -> None:
        """Nothing is loaded here."""

    async def compress(self, text: str, report: Report, **options: Any) -> Compression:
        began = time.monotonic()
        work = asyncio.ensure_future(self._client.compress(text, **options))
        try:
            while not (await asyncio.wait([work], timeout=_BEAT))[0]:
                report(int(time.monotonic() - began), None)
            return work.result()
        finally:
            work.cancel()

    def close(self) -> None:
        """Nothing is at work here."""
