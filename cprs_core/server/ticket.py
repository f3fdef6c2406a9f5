"""One request's right to be worked on: until its deadline, or until someone cancels it.

The ticket of the request that a thread works for is in the context variable ``current``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from copy import copy

from ..errors import CprsError, DeadlineError


class Gone(CprsError):
    """The client has hung up; there is nobody to answer."""


Hook = Callable[[CprsError], None]


class Ticket:
    """Args:
    seconds: until the deadline; None = there is none.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._reason: CprsError | None = None
        self._hooks: list[Hook] = []
        self._lock = threading.Lock()

    def left(self) -> float | None:
        """Seconds until the deadline, 0 once it has passed; None if there is none."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def cancel(self, reason: CprsError) -> None:
        """Ends the request's work, at once and in whatever thread it is done; the first reason counts."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            hooks = list(self._hooks)
        for hook in hooks:
            hook(reason)

    def check(self) -> None:
        """Raises why there is nothing to be done any more, if so."""
        if self._reason is not None or self.left() == 0:
            raise self.reason()

    def reason(self) -> CprsError:
        """Why there is nothing to be done any more. A copy: the traceback of an error holds all that its thread worked with,
        which holds the ticket."""
        return copy(self._reason) if self._reason is not None else self.late()

    def late(self) -> DeadlineError:
        """The error of a request past its deadline."""
        return DeadlineError(
            f"the request took longer than {self._seconds:g} s; send less text at once, or allow more time (the header "
            "X-Request-Timeout, up to the service's --deadline)"
        )

    def on_cancel(self, hook: Hook) -> None:
        """Calls ``hook`` with the reason once the ticket is cancelled, now if it is already."""
        with self._lock:
            self._hooks.append(hook)
            reason = self._reason
        if reason is not None:
            hook(reason)

    def forget(self, hook: Hook) -> None:
        """Takes a hook back."""
        with self._lock:
            self._hooks.remove(hook)


current: ContextVar[Ticket] = ContextVar("ticket")
