"""API keys: read from a file and from the environment, kept as SHA-256 hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError

VARIABLE = "CPRS_API_KEYS"
_HASHED = re.compile(r"sha256:([0-9a-f]{64})")
_SHORTEST = 16
_logger = logging.getLogger("cprs_core.server")


class Keys:
    """The keys that may use the service; without any, everyone may.

    Args:
        keys: keys of at least 16 characters, or their hashes as ``sha256:HEX``.
        file: holds more, one a line (``#`` begins a comment). It is read again when it has changed. A line that is no key
            then counts for nothing, and without any key nobody may; a file that cannot be read leaves the keys as they are.

    Raises:
        InputError: a key that is too short to be one, or holds a space; a file that cannot be read or holds no key.
    """

    def __init__(self, keys: Iterable[str] = (), *, file: Path | None = None) -> None:
        self._fixed = [_hash(key) for key in keys]
        self._file, self._read, self._mark = file, list[bytes](), _mark(file)
        if file:
            try:
                self._read = [_hash(key) for key in _keys(file)]
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"cannot read the API keys of {file}: {error}") from None
            if not self._read:
                raise InputError(
                    f"there is no API key in {file}; write one a line, or leave --api-keys out for an open service"
                )

    @classmethod
    def load(cls, file: Path | None = None) -> Keys:
        """Keys of a file and of ``CPRS_API_KEYS``, separated by commas."""
        variable = os.environ.get(VARIABLE, "")
        return cls([key for part in variable.split(",") if (key := part.strip())], file=file)

    @property
    def open(self) -> bool:
        """Whether no key is needed."""
        return not self._fixed and self._file is None

    def __len__(self) -> int:
        return len(self._fixed) + len(self._read)

    def allow(self, authorization: bytes | None) -> bool:
        """Whether a header ``Authorization: Bearer KEY`` holds one of the keys."""
        if self.open:
            return True
        self._refresh()
        scheme, _, key = (authorization or b"").partition(b" ")
        given = hashlib.sha256(key.strip()).digest()
        same = [hmac.compare_digest(given, known) for known in self._fixed + self._read]  # all of them, whichever it is
        return scheme.lower() == b"bearer" and any(same)

    def _refresh(self) -> None:
        """Reads the file again if it has changed."""
        mark = _mark(self._file)
        if self._file is None or mark == self._mark:
            return
        self._mark = mark
        try:
            keys = _keys(self._file)
        except (OSError, UnicodeDecodeError) as error:
            _logger.error("cannot read the API keys of %s again (%s); they stay as they were", self._file, error)
            return
        found = []
        for key in keys:
            try:
                found.append(_hash(key))
            except InputError as error:
                _logger.error("a line of %s is left out: %s", self._file, error)
        self._read = found
        _logger.warning("the API keys of %s have been read again; there are %d", self._file, len(found))


def _mark(file: Path | None) -> tuple[int, ...]:
    """What changes when a file does."""
    try:
        found = os.stat(file) if file else None
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino) if found else ()


def _keys(file: Path) -> list[str]:
    return [key for line in file.read_text("utf-8").splitlines() if (key := line.partition("#")[0].strip())]


def _hash(key: str) -> bytes:
    if match := _HASHED.fullmatch(key):
        return bytes.fromhex(match[1])
    if len(key) < _SHORTEST or len(key.split()) != 1:
        raise InputError(
            f"an API key must have at least {_SHORTEST} characters and no spaces; make one with: openssl rand -hex 24"
        )
    return hashlib.sha256(key.encode()).digest()
