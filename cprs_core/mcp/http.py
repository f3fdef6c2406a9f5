"""The server on a port: streamable HTTP, for callers with a key, under the names that it is known by."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ..server.auth import Keys

PATH = "/mcp"
_ESCAPED = 6  # bytes of JSON that a byte of text takes at most
_OTHER = 2**16  # bytes of a request besides the text
_STOPPING = 3  # seconds that answers have left when the server is told to stop


class KeyGate:
    """Lets requests through that have one of the keys; all of them if there are no keys."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp = self._app
        if scope["type"] == "http":
            given = Headers(scope=scope).get("authorization", "").encode("latin-1")
            if not self._keys.allow(given):
                detail = "the API key is missing or wrong; send one in the header Authorization: Bearer KEY"
                answer = JSONResponse({"error": detail}, 401, {"WWW-Authenticate": "Bearer", "Connection": "close"})
        await answer(scope, receive, send)


def create_app(server: MCPServer[Any], keys: Keys, names: Sequence[str], *, max_bytes: int) -> ASGIApp:
    """The server as an ASGI application, at ``/mcp``.

    Args:
        names: the host names and addresses that it is reached by. Requests for other names, and those of web pages from
            elsewhere, are refused, so that no page can use it through a name that points here (DNS rebinding).
        max_bytes: of a text.
    """
    hosts = [f"[{name}]" if ":" in name else name for name in names]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[*hosts, *(f"{host}:*" for host in hosts)],
        allowed_origins=[
            f"{scheme}://{host}{port}" for scheme in ("http", "https") for host in hosts for port in ("", ":*")
        ],
    )
    app = server.streamable_http_app(
        streamable_http_path=PATH, max_request_body_size=_ESCAPED * max_bytes + _OTHER, transport_security=security
    )
    return KeyGate(app, keys)


def run(app: ASGIApp, listener: socket.socket) -> None:
    """Serves until SIGINT or SIGTERM."""
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=_STOPPING)
    uvicorn.Server(config).run(sockets=[listener])
