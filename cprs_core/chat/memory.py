"""What has been sent in place of which message; the least recently used is forgotten first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_OVERHEAD = 500  # bytes, about, of an entry besides its texts
_SPAN = 300  # and of a noted span


@dataclass(frozen=True)
class Sent:
    """How a message is sent.

    Attributes:
        texts: the words of its texts in order; none = whole.
        input_tokens, kept_tokens: before and after.
        note: JSON-ready: ``spans`` (``[start, end, score, tag]`` in characters of the original, which is its texts with an
            empty line between them), ``input_tokens``, ``kept_tokens``, ``original_length``, ``model``, ``query`` and,
            where the original is stored, its ``reference``; of a long message that is sent whole, the reason as
            ``{"whole": ...}``, or as ``{"error": ...}`` where compression failed.
    """

    texts: tuple[str, ...] = ()
    input_tokens: int = 0
    kept_tokens: int = 0
    note: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes, about."""
        words = sum(len(text) * (1 if text.isascii() else 4) for text in self.texts)
        return _OVERHEAD + words + _SPAN * len(self.note.get("spans", ()))


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
