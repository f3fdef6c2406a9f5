"""CprsClient: a service started with ``cprs serve``, used like a ContextCompressor (extra ``server``).

>>> client = CprsClient("http://127.0.0.1:8080")  # doctest: +SKIP
>>> client.compress(text, query="When does the licence end?").text  # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from . import wire
from .errors import CprsError, DeadlineError, InputError, MissingExtraError, ServiceError
from .instruction import check_text
from .result import Compression, Span

if TYPE_CHECKING:
    import httpx

VARIABLE = "CPRS_API_KEY"
_AGAIN = (429, 502, 503, 504)
_SLOWEST = 30.0  # seconds between two tries at most
_SPARE = 10.0  # seconds that the service may be late with its answer


class Client:
    """What both have in common: requests out, results and errors in, and how long to wait between tries.

    Args:
        url: where the service listens, such as ``http://127.0.0.1:8080``.
        api_key: None = the one in the environment variable ``CPRS_API_KEY``, if there is one.
        timeout: seconds that the service may take for a request; it stops working on it then.
        retries: how often a request is sent again that found no connection, or a service that is busy or restarting.
    """

    def __init__(self, url: str, *, api_key: str | None = None, timeout: float = 600.0, retries: int = 4) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtraError("httpx", "server") from error
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise InputError(f"url must be that of a service, such as http://127.0.0.1:8080, got {url!r}")
        if not timeout > 0 or retries < 0:
            raise InputError("timeout must be over 0 seconds, and retries 0 or more")
        key = api_key if api_key is not None else os.environ.get(VARIABLE)
        if key and not (key.isascii() and key.isprintable()):
            raise InputError("an API key is printable ASCII; this one holds other characters")
        headers = {"X-Request-Timeout": f"{timeout:g}", **({"Authorization": f"Bearer {key}"} if key else {})}
        self.url, self._retries, self._model = url.rstrip("/"), retries, ""
        self._options: dict[str, Any] = {
            "base_url": self.url,
            "headers": headers,
            "timeout": httpx.Timeout(timeout + _SPARE, connect=10.0),
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=None),
        }

    def _pause(self, attempt: int, failure: CprsError, reply: httpx.Response | None) -> float | None:
        """Seconds until the next try; None if there is no more, or no use: what was too slow once would be so again."""
        refused = reply is not None and reply.status_code not in _AGAIN
        if attempt >= self._retries or refused or isinstance(failure, DeadlineError):
            return None
        asked = reply.headers.get("retry-after", "") if reply is not None else ""
        backoff = 0.25 * 2**attempt * random.uniform(0.5, 1.5)
        return min(_SLOWEST, max(backoff, float(asked) if asked.isdecimal() else 0.0))

    def _unreached(self, error: httpx.TransportError) -> CprsError:
        import httpx

        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return DeadlineError(
                f"no answer from {self.url} in time; send less text, or make the client with a longer timeout"
            )
        reason = str(error) or type(error).__name__
        return ServiceError(f"cannot reach {self.url} ({reason}); start one with: cprs serve")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


class CprsClient(Client):
    """A service, used like a :class:`~cprs_core.ContextCompressor`. Safe to use from many threads; connections are reused.

    Raises:
        CprsError: what the service raised, as the class that it is; ServiceError if it cannot be reached.
    """

    def __init__(self, url: str, *, api_key: str | None = None, timeout: float = 600.0, retries: int = 4) -> None:
        super().__init__(url, api_key=api_key, timeout=timeout, retries=retries)
        import httpx

        self._http = httpx.Client(**self._options)

    @property
    def model_name(self) -> str:
        """The model that is served."""
        if not self._model:
            self._model = wire.parsed(self._send("GET", "/v1/models").content)["data"][0]["id"]
        return self._model

    def compress(self, text: str, query: str, instruction: Any = None, **limits: Any) -> Compression:
        """As :meth:`ContextCompressor.compress`; limits are max_tokens, ratio and threshold."""
        return self.compress_documents([text], query, instruction, **limits)[0]

    def compress_documents(
        self, documents: Sequence[str], query: str, instruction: Any = None, **limits: Any
    ) -> list[Compression]:
        """As :meth:`ContextCompressor.compress_documents`."""
        body = wire.documents(documents, query, instruction, limits)
        return wire.results(self._send("POST", "/v1/compress", body).content, documents)

    def compress_batch(self, pairs: Sequence[tuple[str, str]], instruction: Any = None, **limits: Any) -> list[Compression]:
        """As :meth:`ContextCompressor.compress_batch`."""
        body = wire.pairs(pairs, instruction, limits)
        return wire.results(self._send("POST", "/v1/compress", body).content, [text for text, _ in pairs])

    async def acompress(self, text: str, query: str, instruction: Any = None, **limits: Any) -> Compression:
        """:meth:`compress` in a thread."""
        return await asyncio.to_thread(self.compress, text, query, instruction, **limits)

    async def acompress_documents(
        self, documents: Sequence[str], query: str, instruction: Any = None, **limits: Any
    ) -> list[Compression]:
        """:meth:`compress_documents` in a thread."""
        return await asyncio.to_thread(self.compress_documents, documents, query, instruction, **limits)

    async def acompress_batch(
        self, pairs: Sequence[tuple[str, str]], instruction: Any = None, **limits: Any
    ) -> list[Compression]:
        """:meth:`compress_batch` in a thread."""
        return await asyncio.to_thread(self.compress_batch, pairs, instruction, **limits)

    def stream(self, text: str, query: str, instruction: Any = None, *, threshold: float | None = None) -> Iterator[Span]:
        """As :meth:`ContextCompressor.stream`. Closing the iterator ends the work in the service."""
        reply = self._send("POST", "/v1/compress", wire.stream(text, query, instruction, threshold), stream=True)
        return self._spans(reply)

    async def astream(self, text: str, query: str, instruction: Any = None, **options: Any) -> AsyncIterator[Span]:
        """:meth:`stream`; each step runs in a thread."""
        spans = await asyncio.to_thread(self.stream, text, query, instruction, **options)
        while (span := await asyncio.to_thread(next, spans, None)) is not None:
            yield span

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, counted as budgets are."""
        check_text("text", text)
        return int(wire.parsed(self._send("POST", "/v1/tokens", {"text": text}).content)["tokens"])

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _spans(self, reply: httpx.Response) -> Iterator[Span]:
        import httpx

        try:
            parse = wire.Events()
            for line in reply.iter_lines():
                yield from parse(line)
            parse.end()
        except httpx.TransportError as error:
            raise self._unreached(error) from error
        finally:
            reply.close()

    def _send(self, method: str, path: str, body: Any = None, *, stream: bool = False) -> httpx.Response:
        import httpx

        for attempt in range(self._retries + 1):
            try:
                request = self._http.build_request(method, path, **wire.content(body))
                reply = self._http.send(request, stream=stream)
                if reply.is_success:
                    return reply
                failure = wire.failure(reply.status_code, reply.read())
                pause = self._pause(attempt, failure, reply)
                reply.close()
            except httpx.TransportError as error:
                failure = self._unreached(error)
                pause = self._pause(attempt, failure, None)
            if pause is None:
                break
            time.sleep(pause)
        raise failure
