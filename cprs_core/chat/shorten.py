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

Stays = Mapping[int, tuple[int, int]]
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
        on_start: called with the query and the texts before they are compressed.
        on_end: called with the result.
    """

    def __init__(
        self,
        compressor: Callable[[], ChatCompressor],
        min_tokens: int,
        on_error: OnError = "original",
        references: References | None = None,
        on_start: Callable[[str, list[str]], object] | None = None,
        on_end: Callable[[Sent], object] | None = None,
    ) -> None:
        self.compressor, self.min_tokens, self._on_error, self._references = compressor, min_tokens, on_error, references
        self._on_start, self._on_end = on_start, on_end

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
        stays: Stays | None = None,
        *,
        long: bool = False,
    ) -> Sent:
        """How texts are sent.

        Args:
            arguments: what to keep and how much, for ``compress_documents``.
            stays: ``[start, end]`` of what must stay, by the number of the text.
            long: it is known already that they are long.

        Raises:
            Exception: what the compressor or the store raises, with ``on_error="raise"``.
        """
        try:
            job = self._job(texts, query, stays, long)
            if isinstance(job, Sent):
                return job
            self._started(query, texts)
            compressor = self.compressor()
            sent = job.finish(compressor.compress_documents(job.documents, query, **arguments), compressor)
            if self._references and sent.texts:
                self._references.put(job.original)
        except Exception as error:
            sent = self.failed(error)
        return self._ended(sent)

    async def ashorten(
        self,
        texts: Sequence[str],
        query: str,
        arguments: Mapping[str, Any],
        stays: Stays | None = None,
        *,
        long: bool = False,
    ) -> Sent:
        """:meth:`shorten`; the event loop stays free."""
        try:
            job = await asyncio.to_thread(self._job, texts, query, stays, long)
            if isinstance(job, Sent):
                return job
            self._started(query, texts)
            compressor = await asyncio.to_thread(self.compressor)
            results = await compressor.acompress_documents(job.documents, query, **arguments)
            sent = await asyncio.to_thread(job.finish, results, compressor)
            if self._references and sent.texts:
                await self._references.aput(job.original)
        except Exception as error:
            sent = self.failed(error)
        return self._ended(sent)

    def failed(self, error: Exception) -> Sent:
        """What is sent when something failed: the original, with a note; raises instead if so chosen."""
        _log.warning("compression failed: %s", type(error).__name__)  # its words may be the user's
        if self._on_error == "raise":
            raise error
        return Sent(note={"error": f"{type(error).__name__}: {error}"})

    def _job(self, texts: Sequence[str], query: str, stays: Stays | None, long: bool) -> _Job | Sent:
        """The work to do, or how the texts are sent without any."""
        if not long and not self.is_long(texts):
            return Sent()
        job = _Job(texts, query, stays or {}, self._references)
        reason = JSON if not job.documents else "" if query.strip() else NO_QUESTION
        if reason:
            _log.info("a long text stays whole: %s", reason)
        return Sent(note={"whole": reason}) if reason else job

    def _started(self, query: str, texts: Sequence[str]) -> None:
        if self._on_start:
            self._on_start(query, list(texts))

    def _ended(self, sent: Sent) -> Sent:
        if self._on_end:
            self._on_end(sent)
        return sent


class _Job:
    """Texts of a message on their way through the compressor; ``documents`` are what it gets of them."""

    def __init__(self, texts: Sequence[str], query: str, stays: Stays, references: References | None) -> None:
        self._texts, self._query, self._references = list(texts), query, references
        self.original = "\n\n".join(texts)
        self._pieces = [piece for piece in _pieces(self._texts, stays) if not is_json(self._texts[piece[0]])]
        self.documents = [self._texts[number][start:end] for number, start, end in self._pieces]

    def finish(self, results: Sequence[Compression], compressor: ChatCompressor) -> Sent:
        """How they are sent, given the compressions of ``documents``."""
        words, spans, read, kept = list(self.documents), [], 0, 0
        for index, ((number, start, _), result) in enumerate(zip(self._pieces, results, strict=True)):
            short, tokens = result.text or NOTHING, result.kept_tokens or compressor.count_tokens(NOTHING)
            if len(short) < len(result.source) and tokens < result.input_tokens:
                words[index], last = short, index
                offset = sum(len(text) + 2 for text in self._texts[:number]) + start
                spans += [[offset + span.start, offset + span.end, span.score, span.tag] for span in result.spans]
            else:
                tokens = result.input_tokens
            read, kept = read + result.input_tokens, kept + tokens
        if kept >= read:
            return Sent(note={"whole": NO_GAIN})
        note = {
            "spans": spans,
            "input_tokens": read,
            "kept_tokens": kept,
            "original_length": len(self.original),
            "model": results[0].model,
            "query": self._query,
        }
        if self._references:
            note["reference"] = key = self._references.key(self.original)
            words[last] += self._references.hint(key, kept, read)
        texts = list(self._texts)
        for (number, start, end), piece in reversed(list(zip(self._pieces, words, strict=True))):  # offsets stay true
            texts[number] = texts[number][:start] + piece + texts[number][end:]
        if sum(map(len, texts)) >= sum(map(len, self._texts)):
            return Sent(note={"whole": NO_GAIN})
        return Sent(tuple(texts), read, kept, note)


def encodable(text: str) -> str:
    """JSON can hold halves of surrogate pairs; only their number matters here."""
    return text.encode("utf-8", "replace").decode()


def _pieces(texts: Sequence[str], stays: Stays) -> Iterator[tuple[int, int, int]]:
    """(number of the text, start, end): all but what stays."""
    for number, text in enumerate(texts):
        start, end = stays.get(number, (0, 0))
        for piece in ((0, start), (end, len(text))):
            if text[slice(*piece)].strip():
                yield number, *piece
