"""What may be chosen for the proxy as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from ..budget import check_budget
from ..errors import InputError


@dataclass(frozen=True)
class Limits:
    """How much is kept of a message; neither = the model decides."""

    ratio: float | None = None
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        check_budget(self.max_tokens, self.ratio, None)


@dataclass(frozen=True)
class Settings:
    """Attributes:
    upstream: where the provider is, without the version: ``https://api.openai.com``.
    min_tokens: user and tool messages of at least so many tokens are compressed.
    keep_recent: so many of the last messages stay whole. A message that leaves them is compressed then, so the
        provider's prompt cache never covers them: 0, the default, is best for the cache.
    limits: how much is kept of a message.
    on_error: when compression fails, ``"pass"`` the message on whole or ``"fail"`` the request.
    memory: bytes of compressed messages to remember.
    max_body: bytes of the largest request for a chat.
    workers: how many requests are compressed at once.
    timeout: seconds to wait for the provider's next bytes.

    Raises:
        InputError: a value out of range.
    """

    upstream: str
    min_tokens: int = 1_000
    keep_recent: int = 0
    limits: Limits = Limits()
    on_error: Literal["pass", "fail"] = "pass"
    memory: int = 256 * 2**20
    max_body: int = 64 * 2**20
    workers: int = 2
    timeout: float = 600.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.upstream)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InputError(f"upstream must be the URL of a provider such as https://api.openai.com, got {self.upstream!r}")
        if parts.path.rstrip("/").endswith("/v1"):
            raise InputError(f"upstream {self.upstream!r} ends in /v1, which the paths of clients begin with; leave it out")
        for name, least in (("min_tokens", 1), ("keep_recent", 0), ("memory", 0), ("max_body", 1), ("workers", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be {least} or more, got {getattr(self, name)!r}")
        if not self.timeout > 0:
            raise InputError(f"timeout must be a number of seconds over 0, got {self.timeout!r}")
        if self.on_error not in ("pass", "fail"):
            raise InputError(f"on_error must be 'pass' or 'fail', got {self.on_error!r}")
