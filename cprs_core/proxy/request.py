"""A request for a chat: its messages, and what it says itself about compressing them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .settings import Limits


@dataclass(frozen=True)
class Chat:
    """Attributes:
    raw: the body as it came.
    content: the same as an object, without the field ``"cprs"``.
    limits: how much to keep of a message; None = nothing is to be compressed.
    tuned: whether there was that field.
    """

    raw: bytes
    content: dict[str, Any]
    limits: Limits | None
    tuned: bool

    @classmethod
    def parse(cls, raw: bytes, header: str | None, usual: Limits) -> Chat:
        """Reads a body.

        Args:
            header: the value of ``X-Cprs``: on or off.

        Raises:
            InputError: it is no JSON object, or what it says about cprs cannot be done.
        """
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the body is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise InputError(f"the body must be a JSON object, not {type(content).__name__}")
        switch = (header or "on").strip().lower()
        if switch not in ("on", "off"):
            raise InputError(f"the header X-Cprs must be on or off, got {switch[:40]!r}")
        tuned = "cprs" in content
        limits = request_limits(content.pop("cprs", None), usual)
        return cls(raw, content, limits if switch == "on" else None, tuned)

    @property
    def messages(self) -> list[Any]:
        """The messages that may be compressed."""
        messages = self.content.get("messages")
        return messages if self.limits and isinstance(messages, list) else []

    def body(self, messages: list[Any]) -> bytes:
        """The body with these messages; byte for byte as it came if nothing is different."""
        changed = any(new is not old for new, old in zip(messages, self.messages, strict=True))
        if not changed and not self.tuned:
            return self.raw
        return json.dumps(self.content | ({"messages": messages} if changed else {})).encode()


def request_limits(field: Any, usual: Limits) -> Limits | None:
    """What the field ``"cprs"`` asks for: true, false, or an object with enabled, ratio, max_tokens. None = off.

    Raises:
        InputError: it is something else, or a budget out of range.
    """
    asked = {"enabled": field} if isinstance(field, bool) else {} if field is None else field
    if not isinstance(asked, Mapping) or not {*asked} <= {"enabled", "ratio", "max_tokens"}:
        raise InputError('"cprs" must be true, false, or an object with some of enabled, ratio and max_tokens')
    if not isinstance(enabled := asked.get("enabled", True), bool):
        raise InputError('"enabled" of "cprs" must be true or false')
    ratio, max_tokens = asked.get("ratio"), asked.get("max_tokens")
    limits = usual if ratio is None and max_tokens is None else Limits(ratio, max_tokens)
    return limits if enabled else None
