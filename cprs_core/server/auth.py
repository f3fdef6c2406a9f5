"""API keys: read from a file and from the environment, kept as SHA-256 hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError

VARIABLE = "CPRS_API_KEYS"
_HASHED = re.compile(r"sha256:([0-9a-f]{64})")
_SHORTEST = 16


class Keys:
    """The keys that may use the service; without any, everyone may.

    Args:
        keys: keys of at least 16 characters, or their hashes as ``sha256:HEX``.

    Raises:
        InputError: a key that is too short to be one, or holds a space.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._hashes = [_hash(key) for key in keys]

    @classmethod
    def load(cls, file: Path | None = None) -> Keys:
        """Keys of a file, one a line (``#`` begins a comment), and of ``CPRS_API_KEYS``, separated by commas."""
        try:
            lines = file.read_text("utf-8").splitlines() if file else []
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the API keys of {file}: {error}") from None
        found = [key for line in lines if (key := line.partition("#")[0].strip())]
        if file and not found:
            raise InputError(f"there is no API key in {file}; write one a line, or leave --api-keys out for an open service")
        variable = os.environ.get(VARIABLE, "")
        return cls([*found, *(key for part in variable.split(",") if (key := part.strip()))])

    def __len__(self) -> int:
        return len(self._hashes)

    def allow(self, authorization: bytes | None) -> bool:
        """Whether a header ``Authorization: Bearer KEY`` holds one of the keys."""
        if not self._hashes:
            return True
        scheme, _, key = (authorization or b"").partition(b" ")
        given = hashlib.sha256(key.strip()).digest()
        same = [hmac.compare_digest(given, known) for known in self._hashes]  # all of them, whichever it is
        return scheme.lower() == b"bearer" and any(same)


def _hash(key: str) -> bytes:
    if match := _HASHED.fullmatch(key):
        return bytes.fromhex(match[1])
    if len(key) < _SHORTEST or len(key.split()) != 1:
        raise InputError(
            f"an API key must have at least {_SHORTEST} characters and no spaces; make one with: openssl rand -hex 24"
        )
    return hashlib.sha256(key.encode()).digest()
