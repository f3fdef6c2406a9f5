"""A run's rows: in memory, and in a folder as they come, so that a run that was stopped can go on.

settings.json  what was asked for
a .jsonl file  a row a line
a .json file   the figures, at the end
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Generic, TypeVar

from .errors import CprsError, DataError, InputError

Row = TypeVar("Row")  # JSON-ready
_SETTINGS = "settings.json"


class Store(Generic[Row]):
    """The rows of a run.

    Args:
        folder: where they are kept; None = in memory alone.
        settings: what was asked for, JSON-ready. A run goes on only with the same.
        rows, results: the names of the files of rows and figures.
        resume: go on with the run in the folder, instead of starting one in a new folder.

    Raises:
        InputError: to start, the folder has something in it; to go on, there is no run in it, or one with other settings.
        DataError: the folder holds files that no run has written.
        CprsError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path | None,
        settings: dict[str, Any],
        *,
        rows: str = "rows.jsonl",
        results: str = "results.json",
        resume: bool = False,
    ) -> None:
        self.rows: list[Row] = []
        self._folder, self._settings, self._rows, self._results = folder, settings, rows, results
        if resume and folder is None:
            raise InputError("--resume goes on with the run in a folder; name it with --out")
        if folder is None:
            return
        if resume:
            _check_same(folder, settings)
            self.rows = _read_rows(folder / rows)
            return
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} is there already; name another --out, or go on with the run in it with --resume")

    @property
    def files(self) -> list[Path]:
        """What the store writes."""
        return [] if self._folder is None else [self._folder / name for name in (_SETTINGS, self._rows, self._results)]

    def begin(self) -> None:
        """Makes the folder, unless a row has done so."""
        if not self.rows:
            self._write(_SETTINGS, json.dumps(self._settings, indent=1) + "\n")

    def add(self, row: Row) -> None:
        """Keeps a row; it is on disk when this returns. The first one makes the folder."""
        self.begin()
        self.rows.append(row)
        self._write(self._rows, json.dumps(row) + "\n", mode="a")

    def finish(self, results: dict[str, Any]) -> None:
        """Keeps the figures of all rows."""
        self._write(self._results, json.dumps(results, indent=1) + "\n")

    def _write(self, name: str, text: str, mode: str = "w") -> None:
        if self._folder is None:
            return
        path = self._folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open(mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise _unwritable(path, error) from error


def _check_same(folder: Path, settings: dict[str, Any]) -> None:
    path = folder / _SETTINGS
    if not path.is_file():
        raise InputError(f"there is no run in {folder} to go on with; leave out --resume to start one")
    before = _parsed(path, path.read_bytes())
    now = json.loads(json.dumps(settings))
    changes = [
        f"{name} was {json.dumps(before.get(name))} and is now {json.dumps(now.get(name))}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]
    if changes:
        raise InputError(
            f"the run in {folder} was started with other settings: {'; '.join(changes)}. Give the same, or another --out"
        )


def _read_rows(path: Path) -> list[Any]:
    """The rows of a file; a last line that was not written to its end is cut off."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        path.write_bytes(content[:whole])
    return [_parsed(path, line, f", line {number}") for number, line in enumerate(content[:whole].splitlines(), 1)]


def _parsed(path: Path, content: bytes, where: str = "") -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise DataError(f"{path}{where} is not what such a run writes ({error}); start anew in another --out") from error


def _unwritable(path: Path, error: OSError) -> CprsError:
    return CprsError(f"cannot write {path}: {error.strerror or error}; free or change it, then go on with --resume")
