"""From the messages of a request to those that are sent: what is remembered, and what is compressed now."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..result import Compression
from .conversation import Candidate, candidates
from .memory import Memory, Sent
from .messages import is_json, replace
from .settings import Limits, Settings

NOTHING = "[nothing relevant]"  # in place of a text of which nothing is kept: providers refuse empty ones

_log = logging.getLogger(__name__)


class Compressor(Protocol):
    """What the proxy needs of a :class:`~cprs_core.ContextCompressor`."""

    def compress_documents(
        self, documents: Sequence[str], query: str, *, max_tokens: int | None = None, ratio: float | None = None
    ) -> list[Compression]: ...

    def count_tokens(self, text: str) -> int: ...


@dataclass
class Statistics:
    """What was done to a request. ``status``: compressed, cached (all of it was remembered), off or failed."""

    status: str = "off"
    messages: int = 0
    input_tokens: int = 0
    kept_tokens: int = 0

    def add(self, sent: Sent, status: str) -> None:
        """Counts a message, and raises the status."""
        if sent.texts:
            self.messages += 1
            self.input_tokens += sent.input_tokens
            self.kept_tokens += sent.kept_tokens
        if sent.texts or status == "failed":
            self.status = max(self.status, status, key=("off", "cached", "compressed", "failed").index)


@dataclass
class Plan:
    """A request's messages with what is remembered put in; the ``new`` ones are still to be compressed."""

    messages: list[Any]
    question: str
    new: list[Candidate]
    statistics: Statistics


class Shrinker:
    """Safe to use from many threads."""

    def __init__(self, compressor: Compressor, settings: Settings) -> None:
        self._compressor, self._settings = compressor, settings
        self._memory = Memory(settings.memory)

    def plan(self, messages: Sequence[Any], secret: bytes) -> Plan:
        """What can be done without the model. ``secret`` keeps the memories of different clients apart.

        Raises:
            Exception: anything that goes wrong, if a request should fail then.
        """
        try:
            return self._plan(messages, secret)
        except Exception as error:  # such as messages nested too deeply
            self._failed(error)
            return Plan(list(messages), "", [], Statistics("failed"))

    def _plan(self, messages: Sequence[Any], secret: bytes) -> Plan:
        least = self._settings.min_tokens
        question, found = candidates(messages, least, self._settings.keep_recent, secret)
        plan = Plan(list(messages), _encodable(question), [], Statistics())
        for candidate in found:
            sent = self._memory.get(candidate.keys)
            if sent is not None:
                _put(plan, candidate, sent, "cached")
            elif question and self._tokens(candidate) >= least:
                plan.new.append(candidate)
            else:  # it is sent whole now, so it is from now on
                self._memory.remember(candidate.key, Sent())
        return plan

    def run(self, plan: Plan, limits: Limits) -> None:
        """Compresses what is new.

        Raises:
            Exception: what the compressor raises, if a request should fail then.
        """
        for candidate in plan.new:
            status = "compressed"
            try:
                sent = self._compress(candidate, plan.question, limits)
            except Exception as error:
                self._failed(error)
                sent, status = Sent(), "failed"  # and the message stays whole, as the provider has it in its cache
            _put(plan, candidate, self._memory.remember(candidate.key, sent), status)

    def _tokens(self, candidate: Candidate) -> int:
        return sum(self._compressor.count_tokens(_encodable(text.text)) for text in candidate.texts)

    def _failed(self, error: Exception) -> None:
        _log.warning("compression failed: %s", type(error).__name__)  # its words may be the user's
        if self._settings.on_error == "fail":
            raise error

    def _compress(self, candidate: Candidate, question: str, limits: Limits) -> Sent:
        texts = [text.text for text in candidate.texts]
        pieces = [piece for piece in candidate.pieces() if not is_json(texts[piece[0]])]
        if not pieces:
            return Sent()
        results = self._compressor.compress_documents(
            [texts[number][start:end] for number, start, end in pieces],
            question,
            max_tokens=limits.max_tokens,
            ratio=limits.ratio,
        )
        read, kept = sum(result.input_tokens for result in results), 0
        for (number, start, end), result in reversed(list(zip(pieces, results, strict=True))):  # offsets stay true
            short = result.text or NOTHING
            tokens = result.kept_tokens or self._compressor.count_tokens(NOTHING)
            if len(short) < len(result.source) and tokens < result.input_tokens:
                texts[number] = texts[number][:start] + short + texts[number][end:]
                kept += tokens
            else:
                kept += result.input_tokens
        return Sent(tuple(texts), read, kept) if kept < read else Sent()


def _put(plan: Plan, candidate: Candidate, sent: Sent, status: str) -> None:
    for text, words in zip(candidate.texts, sent.texts, strict=False):  # no words = whole
        if words != text.text:
            plan.messages[candidate.index] = replace(plan.messages[candidate.index], text.path, words)
    plan.statistics.add(sent, status)


def _encodable(text: str) -> str:
    """JSON can hold halves of surrogate pairs; only their number matters here."""
    return text.encode("utf-8", "replace").decode()
