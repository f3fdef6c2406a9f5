"""The texts of one message, shortened for a query; sync and async."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

from ..adapters import Compressor
from ..result import Compression
from .memory import Sent
from .messages import is_json, may_be_long
from .references import References

NOTHING = "[nothing relevant]"  # in place of a text of which nothing is kept: providers refuse empty ones
NO_QUESTION = "there is no question to compress for"
JSON = "JSON would be broken if something were left out"
NO_GAIN = "it would not get shorter"

OnError = Literal["original", "raise"]

_log = logging.getLogger(__name__)


class ChatCompressor(Compressor, Protocol):
    """What chats need of a compressor: :class:`~cprs_core.ContextCompressor`, or anything with the same three methods."""

    def count_tokens(self, text: str) -> int: ...


class Shortener:
    """Safe to use from many threads.

    Args:
        compressor: gives the compressor; called on every use, so a model may be loaded on the first.
        min_tokens: texts of at least so many tokens together are long.
        on_error: when compression fails, ``"original"`` leaves the texts whole and notes why, ``"raise"`` raises.
        references: where the original texts are stored; None = nowhere.
    """

    def __init__(
        self,
        compressor: Callable[[], ChatCompressor],
        min_tokens: int,
        on_error: OnError = "original",
        references: References | None = None,
    ) -> None:
        self._compressor, self.min_tokens, self._on_error = compressor, min_tokens, on_error
        self.references = references

    def is_long(self, texts: Sequence[str]) -> bool:
        """Whether texts together have ``min_tokens`` tokens or more. Asks the compressor only where it could be so."""
        if not may_be_long(texts, self.min_tokens):
            return False
        compressor = self.compressor()
        return sum(compressor.count_tokens(encodable(text)) for text in texts) >= self.min_tokens

    def shorten(
        self,
        texts: Sequence[str],
        query: str,
        arguments: Mapping[str, Any],
        stays: Mapping[int, tuple[int, int]] | None = None,
    ) -> Sent:
        """How texts are sent.

        Args:
            arguments: what to keep and how much, for ``compress_documents``.
            stays: ``[start, end]`` of what must stay, by the number of the text.

        Raises:
            Exception: what the compressor raises, with ``on_error="raise"``.
        """
        try:
            job = _Job(texts, query, stays or {}, self.references)
            if job.whole:
                return job.whole
            compressor = self.compressor()
            sent = job.finish(compressor.compress_documents(job.documents, query, **arguments), compressor)
            if self.references and sent.texts:
                self.references.put(job.original)
            return sent
        except Exception as error:
            return self.failed(error)

    async def ashorten(
        self,
        texts: Sequence[str],
        query: str,
        arguments: Mapping[str, Any],
        stays: Mapping[int, tuple[int, int]] | None = None,
    ) -> Sent:
        """:meth:`shorten`; the event loop stays free."""
        try:
            job = await asyncio.to_thread(_Job, texts, query, stays or {}, self.references)
            if job.whole:
                return job.whole
            compressor = await asyncio.to_thread(self.compressor)
            results = await compressor.acompress_documents(job.documents, query, **arguments)
            sent = await asyncio.to_thread(job.finish, results, compressor)
            if self.references and sent.texts:
                await self.references.aput(job.original)
            return sent
        except Exception as error:
            return self.failed(error)

    def compressor(self) -> ChatCompressor:
        """The compressor."""
        return self._compressor()

    def failed(self, error: Exception) -> Sent:
        """What is sent when something failed: the original, with a note; raises instead if so chosen."""
        _log.warning("compression failed: %s", type(error).__name__)  # its words may be the user's
        if self._on_error == "raise":
            raise error
        return Sent(note={"error": f"{type(error).__name__}: {error}"})


class _Job:
    """Texts of a message on their way through the compressor."""

    def __init__(
        self, texts: Sequence[str], query: str, stays: Mapping[int, tuple[int, int]], references: References | None
    ) -> None:
        self._texts, self._query, self._references = list(texts), query, references
        self.original = "\n\n".join(texts)
        self._pieces = [piece for piece in _pieces(self._texts, stays) if not is_json(self._texts[piece[0]])]
        self.documents = [self._texts[number][start:end] for number, start, end in self._pieces]
        reason = "" if query and self._pieces else JSON if query else NO_QUESTION
        self.whole = Sent(note={"whole": reason}) if reason else None

    def finish(self, results: Sequence[Compression], compressor: ChatCompressor) -> Sent:
        """How they are sent, given the compressions of ``documents``."""
        texts, spans = list(self._texts), []
        read, kept = sum(result.input_tokens for result in results), 0
        for (number, start, end), result in reversed(list(zip(self._pieces, results, strict=True))):  # offsets stay true
            short = result.text or NOTHING
            tokens = result.kept_tokens or compressor.count_tokens(NOTHING)
            if len(short) < len(result.source) and tokens < result.input_tokens:
                texts[number] = texts[number][:start] + short + texts[number][end:]
                offset = sum(len(text) + 2 for text in self._texts[:number]) + start
                spans += [[offset + s.start, offset + s.end, s.score, s.tag] for s in reversed(result.spans)]
                kept += tokens
            else:
                kept += result.input_tokens
        note: dict[str, Any] = {
            "spans": spans[::-1],
            "input_tokens": read,
            "kept_tokens": kept,
            "original_length": len(self.original),
            "model": results[0].model,
            "query": self._query,
        }
        if self._references and kept < read:
            note["reference"] = self._references.key(self.original)
            texts[-1] += self._references.hint(note["reference"], kept, read)
        if kept >= read or sum(map(len, texts)) >= sum(map(len, self._texts)):
            return Sent(note={"whole": NO_GAIN})
        return Sent(tuple(texts), read, kept, note)


def encodable(text: str) -> str:
    """JSON can hold halves of surrogate pairs; only their number matters here."""
    return text.encode("utf-8", "replace").decode()


def _pieces(texts: Sequence[str], stays: Mapping[int, tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """(number of the text, start, end): all but what stays."""
    for number, text in enumerate(texts):
        start, end = stays.get(number, (0, 0))
        for piece in ((0, start), (end, len(text))):
            if text[slice(*piece)].strip():
                yield number, *piece
