"""From the messages of a conversation to those that are sent: what is remembered, and what is compressed now."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .conversation import Candidate, candidates
from .memory import Memory, Sent
from .messages import replace
from .shorten import NO_QUESTION, Shortener, encodable

MEMORY = 256 * 2**20  # bytes of compressed messages that are remembered


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
    """A conversation with what is remembered put in; the ``new`` messages are still to be compressed.

    ``sent`` says how the long messages are sent, by their numbers.
    """

    messages: list[Any]
    question: str = ""
    new: list[Candidate] = field(default_factory=list)
    sent: dict[int, Sent] = field(default_factory=dict)
    statistics: Statistics = field(default_factory=Statistics)

    def put(self, candidate: Candidate, sent: Sent, status: str) -> None:
        """Puts in how a message is sent."""
        for text, words in zip(candidate.texts, sent.texts, strict=False):  # no words = whole
            if words != text.text:
                self.messages[candidate.index] = replace(self.messages[candidate.index], text.path, words)
        self.sent[candidate.index] = sent
        self.statistics.add(sent, status)


class Shrinker:
    """Safe to use from many threads.

    Args:
        memory: bytes of compressed messages to remember.
    """

    def __init__(self, shortener: Shortener, memory: int = MEMORY) -> None:
        self._shortener, self._memory = shortener, Memory(memory)

    def plan(self, messages: Sequence[Any], among: Container[int], secret: bytes = b"") -> Plan:
        """What can be done without compressing.

        Args:
            messages: dictionaries with ``role`` and ``content``.
            among: the numbers of those that may be compressed.
            secret: keeps the memories of different clients apart.

        Raises:
            Exception: anything that goes wrong, if that was chosen.
        """
        try:
            return self._plan(messages, among, secret)
        except Exception as error:  # such as messages nested too deeply
            self._shortener.failed(error)
            return Plan(list(messages), statistics=Statistics("failed"))

    def _plan(self, messages: Sequence[Any], among: Container[int], secret: bytes) -> Plan:
        question, found = candidates(messages, self._shortener.min_tokens, among, secret)
        plan = Plan(list(messages), encodable(question))
        for candidate in found:
            sent = self._memory.get(candidate.keys)
            if sent is not None:
                plan.put(candidate, sent, "cached")
            elif not self._shortener.is_long(candidate.words):
                self._memory.remember(candidate.key, Sent())
            elif question:
                plan.new.append(candidate)
            else:  # it is sent whole now, so it is from now on
                plan.put(candidate, self._memory.remember(candidate.key, Sent(note={"whole": NO_QUESTION})), "off")
        return plan

    def run(self, plan: Plan, arguments: Mapping[str, Any]) -> None:
        """Compresses what is new.

        Raises:
            Exception: what the compressor raises, if that was chosen.
        """
        for one in plan.new:
            sent = self._shortener.shorten(one.words, plan.question, arguments, one.stays, long=True)
            self._settle(plan, one, sent)

    async def arun(self, plan: Plan, arguments: Mapping[str, Any]) -> None:
        """:meth:`run`; the event loop stays free."""
        for one in plan.new:
            sent = await self._shortener.ashorten(one.words, plan.question, arguments, one.stays, long=True)
            self._settle(plan, one, sent)

    def _settle(self, plan: Plan, candidate: Candidate, sent: Sent) -> None:
        """A message that failed stays whole for good, as the provider has it in its cache."""
        plan.put(candidate, self._memory.remember(candidate.key, sent), "failed" if "error" in sent.note else "compressed")
