"""What goes over the wire: which requests are chats, which headers are passed on, and errors as each provider words them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ..chat.shrink import Statistics
from ..errors import CprsError

Headers = list[tuple[bytes, bytes]]

SWITCH = b"x-cprs"
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade".split()
)
_OURS = frozenset((SWITCH, b"host", b"expect"))
_KINDS = {400: "invalid_request_error", 413: "request_too_large"}  # else it is nobody's fault: api_error


class Refused(CprsError):
    """An error that the proxy answers with itself."""

    def __init__(self, status: int, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or []


def is_chat(method: str, path: str) -> bool:
    """Whether a request has messages: OpenAI's chat completions or Anthropic's messages, wherever they are mounted."""
    return method == "POST" and path.endswith(("/chat/completions", "/v1/messages"))


def is_anthropic(path: str) -> bool:
    """Whether the answer is expected in Anthropic's shape."""
    return "/v1/messages" in path


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers without those for a single connection (RFC 9110, section 7.6.1)."""
    lower = [(name.lower(), value) for name, value in headers]
    named = {item.strip().lower() for name, value in lower if name == b"connection" for item in value.split(b",")}
    return [(name, value) for name, value in lower if name not in _HOP_BY_HOP and name not in named]


def request_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The client's headers as the provider gets them."""
    return [(name, value) for name, value in end_to_end(headers) if name not in _OURS]


def statistics_headers(statistics: Statistics, milliseconds: float) -> Headers:
    """What was done, as ``X-Cprs-*``."""
    values = {
        "status": statistics.status,
        "messages": statistics.messages,
        "input-tokens": statistics.input_tokens,
        "kept-tokens": statistics.kept_tokens,
        "milliseconds": round(milliseconds, 1),
    }
    return [(f"x-cprs-{name}".encode(), str(value).encode()) for name, value in values.items()]


def error_body(path: str, status: int, message: str) -> bytes:
    """An error in the provider's own shape."""
    kind = _KINDS.get(status, "api_error")
    if is_anthropic(path):
        body: dict[str, object] = {"type": "error", "error": {"type": kind, "message": message}}
    else:
        body = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    return json.dumps(body).encode()
