"""A provider that notes what it is sent and answers in the shapes of OpenAI and Anthropic; and real servers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse


class Provider:
    """Attributes:
    bodies, headers, urls: of the requests, in order.
    stopped: set when a client of an endless answer has gone.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[list[tuple[bytes, bytes]]] = []
        self.urls: list[str] = []
        self.stopped = threading.Event()
        self.arrived = threading.Event()
        self.release = threading.Event()
        self.answer: Response | None = None
        self.app = FastAPI(openapi_url=None)
        self.app.post("/v1/chat/completions")(self._chat)
        self.app.post("/v1/messages")(self._messages)
        self.app.post("/v1/hang/chat/completions")(self._hang)
        self.app.api_route("/{path:path}", methods=["GET", "POST", "DELETE"])(self._echo)

    @property
    def messages(self) -> list[Any]:
        """The messages of the last request."""
        return json.loads(self.bodies[-1])["messages"]

    async def _note(self, request: Request) -> Any:
        self.bodies.append(await request.body())
        self.headers.append(request.headers.raw)
        query = request.scope["query_string"].decode()
        self.urls.append(request.scope["raw_path"].decode().split("?")[0] + ("?" + query if query else ""))

    async def _chat(self, request: Request) -> Any:
        await self._note(request)
        if self.answer is not None:
            return self.answer
        body = json.loads(self.bodies[-1])
        if body.get("stream"):
            return StreamingResponse(self._chunks(body.get("n", 3)), media_type="text/event-stream")
        return {
            "id": "chat-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}],
        }

    async def _chunks(self, count: int) -> AsyncIterator[str]:
        try:
            for number in range(count):
                delta = {"index": 0, "delta": {"content": f"{number} "}, "finish_reason": None}
                chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [delta]}
                yield f"data: {json.dumps(chunk)}\n\n"
                if count == 2:
                    raise ConnectionError("a provider that breaks off")
                while not self.release.is_set() and count > 3:  # until the test has seen the first
                    await asyncio.sleep(0.01)
            yield "data: [DONE]\n\n"
        finally:
            self.stopped.set()

    async def _messages(self, request: Request) -> Any:
        await self._note(request)
        if self.answer is not None:
            return self.answer
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": "Yes."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }

    async def _hang(self, request: Request) -> Any:
        """Never answers; notes when the client hangs up."""
        await self._note(request)
        self.arrived.set()
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        self.stopped.set()

    async def _echo(self, request: Request) -> Response:
        await self._note(request)
        content = bytes(self.bodies[-1]) or b"nothing"
        response = Response(content, 201, {"x-own": "1", "keep-alive": "timeout=5", "content-type": "odd/type"})
        response.raw_headers += [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        return response
