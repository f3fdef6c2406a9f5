"""Continuous batching across requests: one thread runs the windows of all callers, in turn.

Every caller cuts its text in its own thread, a bounded number of tokens ahead. The scheduler takes one window of each
caller at a time (so that a short text is not stuck behind a long one), fills a batch within the engine's budget with
windows of the same tags, waits a moment for more only where the device would be idle otherwise, and hands each result to
its caller, in order.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle

from ..engine import Engine, WindowScores
from ..errors import ServiceError
from ..scoring import Memory, Window
from .ticket import Ticket, current

OnBatch = Callable[[int, int], None]
Batch = list[tuple["_Call", Window]]


class SharedEngine(Engine):
    """An engine whose :meth:`run` many threads can call at once.

    A call ends early, and its waiting windows are dropped, when its generator is closed, or when the ticket of its
    context is cancelled or past its deadline.

    Args:
        engine: the one whose scorers and budget it takes over.
        linger: the most seconds to wait for a fuller batch while the device has nothing to do.
        on_batch: called with the windows and tokens of every batch.
    """

    def __init__(self, engine: Engine, *, linger: float = 0.003, on_batch: OnBatch | None = None) -> None:
        super().__init__(engine.scorers, batch_tokens=engine.batch_tokens)
        self._linger, self._on_batch = linger, on_batch
        self._calls: set[_Call] = set()
        self._turns: deque[_Call] = deque()  # those with windows that wait, the next one first
        self._waiting = 0  # tokens of these windows
        self._closed: BaseException | None = None
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="cprs-scheduler", daemon=True)
        self._thread.start()

    def run(self, windows: Iterable[Window]) -> Iterator[WindowScores]:
        """Scores windows; results come in the order of the windows. The windows are taken in the calling thread.

        Raises:
            CprsError: why the ticket was cancelled, DeadlineError, or ServiceError once the engine is closed. What the
                scorer raises on a batch goes to those with windows in it.
        """
        ticket = current.get(None) or Ticket()
        call = _Call()
        source = iter(windows)
        pending: deque[int] = deque()  # tokens of each window handed over whose result has not been taken
        tokens = 0  # of these
        ahead = (2 + self.ahead) * self.batch_tokens
        ticket.on_cancel(call.results.put)
        try:
            while True:
                ticket.check()
                while not pending or tokens < ahead:
                    if (window := next(source, None)) is None:
                        break
                    self._add(call, window)
                    pending.append(len(window))
                    tokens += len(window)
                if not pending:
                    return
                yield call.result(ticket)
                tokens -= pending.popleft()
        finally:
            ticket.forget(call.results.put)
            self._drop(call)

    @property
    def queued(self) -> int:
        """Windows that wait for a batch."""
        with self._change:
            return sum(len(call.windows) for call in self._turns)

    @property
    def alive(self) -> bool:
        """Whether it takes calls."""
        return self._closed is None

    def close(self, reason: BaseException | None = None) -> None:
        """Fails the calls that there are, and those that come; the batch that runs is the last."""
        with self._change:
            self._closed = self._closed or reason or ServiceError("the service has shut down; try again later or elsewhere")
            for call in self._calls:
                call.results.put(self._closed)
            self._turns.clear()
            self._change.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=60)

    def _add(self, call: _Call, window: Window) -> None:
        with self._change:
            if self._closed is not None:
                raise self._closed
            self._calls.add(call)
            if not call.windows:
                self._turns.append(call)
            call.windows.append(window)
            self._waiting += len(window)
            self._change.notify_all()

    def _drop(self, call: _Call) -> None:
        with self._change:
            self._calls.discard(call)
            if call.windows and call in self._turns:
                self._turns.remove(call)
            self._waiting -= sum(map(len, call.windows))
            call.windows.clear()

    def _serve(self) -> None:
        """The scheduler's thread. As in :meth:`Engine.run`, GPUs get a batch before the last one's results are fetched."""
        turns = cycle([(scorer, Memory()) for scorer in self.scorers])
        running: deque[tuple[Batch, list[Iterable[WindowScores]]]] = deque()
        try:
            while (batch := self._next(idle=not running)) or running:
                if batch:
                    windows = [window for _, window in batch]
                    scorer, memory = next(turns)
                    try:
                        running.append((batch, list(self._launch(windows, scorer, memory))))
                    except Exception as error:
                        memory.clear()
                        _fail(batch, error)
                    if self._on_batch is not None:
                        self._on_batch(len(windows), sum(map(len, windows)))
                while len(running) > (self.ahead if batch else 0):
                    _deliver(*running.popleft())
        except BaseException as error:  # a fault of the scheduler itself must not leave callers waiting
            for batch, _ in running:
                _fail(batch, error)
            self.close(error)

    def _next(self, *, idle: bool) -> Batch:
        """The next batch; none if nothing waits. With an idle device it waits for one, until the engine is closed."""
        with self._change:
            if idle:
                while not self._turns and self._closed is None:
                    self._change.wait()
                until = time.monotonic() + self._linger
                while self._closed is None and self._waiting < self.batch_tokens:
                    if (left := until - time.monotonic()) <= 0:
                        break
                    self._change.wait(left)
            batch = self._take()
            if idle and not batch and self._closed is None:  # what there was has been cancelled in the meantime
                return self._next(idle=True)
            return batch

    def _take(self) -> Batch:
        """One window of each caller in turn, until no more fits. Who is left out, for other tags or want of room, comes
        first next time."""
        batch: Batch = []
        tokens = 0
        left_out: deque[_Call] = deque()
        while self._turns:
            call = self._turns.popleft()
            window = call.windows[0]
            full = tokens + len(window) > self.batch_tokens
            if batch and (full or not window.goes_with(batch[0][1])):
                left_out.append(call)
                continue
            batch.append((call, call.windows.popleft()))
            tokens += len(window)
            if call.windows:
                self._turns.append(call)
        self._turns = left_out
        self._waiting -= tokens
        return batch


class _Call:
    """One caller: its windows that wait, and its results that it has not taken."""

    def __init__(self) -> None:
        self.windows: deque[Window] = deque()
        self.results: queue.SimpleQueue[WindowScores | BaseException] = queue.SimpleQueue()

    def result(self, ticket: Ticket) -> WindowScores:
        try:
            found = self.results.get(timeout=ticket.left())
        except queue.Empty:
            raise ticket.late() from None
        ticket.check()  # it is what the ticket says, if that is cancelled
        if isinstance(found, BaseException):
            try:
                raise found
            finally:
                del found  # else the error would hold this frame, which holds the error
        return found


def _deliver(batch: Batch, results: Sequence[Iterable[WindowScores]]) -> None:
    try:
        scores = [one for part in results for one in part]
    except Exception as error:
        _fail(batch, error)
        return
    for (call, _), one in zip(batch, scores, strict=True):
        call.results.put(one)


def _fail(batch: Batch, error: BaseException) -> None:
    for call in {call for call, _ in batch}:
        call.results.put(error)
