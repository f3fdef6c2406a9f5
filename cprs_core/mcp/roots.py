"""The folders whose files may be read: nothing outside is, whatever a path, a symlink or a late change of one says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..errors import InputError, LimitError
from ..instruction import decode_text

MAX_BYTES = 10 * 2**20


@dataclass(frozen=True)
class Roots:
    """Folders, as real paths: no symlink in them. Make them with :meth:`of`."""

    folders: tuple[Path, ...]

    @classmethod
    def of(cls, folders: Sequence[Path]) -> Roots:
        """The roots that a user names.

        Raises:
            InputError: one is no folder.
        """
        for folder in folders:
            if not folder.is_dir():
                raise InputError(f"there is no folder {folder} to read files from; name one that exists with --root")
        return cls(tuple(folder.resolve() for folder in folders))

    def narrowed(self, uris: Iterable[str]) -> Roots:
        """What lies both here and below one of a client's roots (``file://`` URIs). Never more than this."""
        found: list[Path] = []
        for theirs in filter(None, map(_folder, uris)):
            for ours in self.folders:
                if theirs.is_relative_to(ours):
                    found.append(theirs)
                elif ours.is_relative_to(theirs):
                    found.append(ours)
        return Roots(tuple(dict.fromkeys(found)))

    def read(self, path: str, max_bytes: int) -> str:
        """The text of a file, byte for byte but for the decoding.

        Args:
            path: absolute, or relative to one of the roots.

        Raises:
            InputError: it lies outside, is no regular file, cannot be read, or is not UTF-8.
            LimitError: it has more bytes than ``max_bytes``.
        """
        real = self._inside(path)
        try:
            with open(str(real), "rb", opener=_open) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise InputError(f"{path!r} is a device or a pipe; only regular files can be read")
                content = file.read(max_bytes + 1)
        except OSError as error:
            raise InputError(f"cannot read {path!r}: {error.strerror or error}; roots: {self}") from error
        if len(content) > max_bytes:
            raise LimitError(
                f"{path!r} has {max(status.st_size, len(content)):,} bytes, more than the {max_bytes:,} that this server "
                "reads; split it, or start the server with a larger --max-bytes"
            )
        return decode_text(repr(path), content)

    def _inside(self, path: str) -> Path:
        """The real path that is meant; of several, the first that exists."""
        try:
            paths = [Path(os.path.realpath(folder / path)) for folder in self.folders]  # an absolute path stays one
        except ValueError as error:
            raise InputError(f"{path!r} is no path: {error}") from error
        inside = [real for real in paths if any(real.is_relative_to(folder) for folder in self.folders)]
        found = next(filter(os.path.lexists, inside), None)
        if found is None and (not inside or len(inside) < len(paths)):
            raise InputError(f"{path!r} is outside the folders that this server may read; roots: {self}")
        return found or inside[0]

    def __str__(self) -> str:
        return ", ".join(map(str, self.folders)) or "none that both the server and the client allow"


def _folder(uri: str) -> Path | None:
    """The real path of a root of a client; None if it is none of this machine's files."""
    try:
        parts = urlsplit(uri)
        return Path(os.path.realpath(url2pathname(parts.path))) if parts.scheme == "file" else None
    except ValueError:  # no URI, or a NUL in it
        return None


def _open(path: str, flags: int) -> int:
    """Opens a real path, and fails if it is one no more.

    A file is opened from the folder above it, that one from the folder above, and so on, symlinks refused at each step: so
    nobody can put a symlink there between the check and the opening. Opening a pipe does not wait for a writer.
    """
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    if os.open not in os.supports_dir_fd:  # Windows, where making a symlink takes special rights
        return _open_checked(path, flags)
    parts = Path(path).parts
    search = os.O_DIRECTORY | os.O_NOFOLLOW | getattr(os, "O_PATH", os.O_RDONLY)
    at = os.open(parts[0], search)
    try:
        for folder in parts[1:-1]:
            below = os.open(folder, search, dir_fd=at)
            os.close(at)
            at = below
        return os.open(parts[-1], flags | os.O_NOFOLLOW, dir_fd=at)
    finally:
        os.close(at)


def _open_checked(path: str, flags: int) -> int:
    """Opens a real path, then checks that the file is still the one there."""
    descriptor = os.open(path, flags)
    if os.path.realpath(path) == path and os.path.samestat(os.fstat(descriptor), os.lstat(path)):
        return descriptor
    os.close(descriptor)
    raise OSError("it was replaced while it was opened")
