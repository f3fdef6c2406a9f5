"""What has been sent in place of which message; the least recently used is forgotten first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

_OVERHEAD = 500  # bytes, about, of an entry besides its texts


@dataclass(frozen=True)
class Sent:
    """How a message is sent: the words of its texts in order (none = whole), and the tokens before and after."""

    texts: tuple[str, ...] = ()
    input_tokens: int = 0
    kept_tokens: int = 0

    @property
    def size(self) -> int:
        """Bytes, about."""
        return _OVERHEAD + sum(len(text) * (1 if text.isascii() else 4) for text in self.texts)


class Memory:
    """Safe to use from many threads. Holds at most ``capacity`` bytes of :class:`Sent`, about."""

    def __init__(self, capacity: int) -> None:
        self._capacity, self._size = capacity, 0
        self._entries: OrderedDict[str, Sent] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, keys: Iterable[str]) -> Sent | None:
        """What is remembered under the first key that is known."""
        with self._lock:
            for key in keys:
                if key in self._entries:
                    self._entries.move_to_end(key)
                    return self._entries[key]
        return None

    def remember(self, key: str, sent: Sent) -> Sent:
        """Remembers, unless something is remembered already; returns what is."""
        with self._lock:
            if key in self._entries:
                return self._entries[key]
            self._entries[key] = sent
            self._size += sent.size
            while self._size > self._capacity:
                self._size -= self._entries.popitem(last=False)[1].size
            return sent
