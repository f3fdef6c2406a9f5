"""How long work shows that it goes on: a bar, or a call of the user's function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = bool | Callable[[int, int], None] | None
"""``True`` for a bar on standard error, or a function called with (windows done, windows in all). A long text that is
skimmed first has more windows once it is known what is left to read of it; of a very long one, it is first known about how
many there are."""


class Report:
    """Called each time a window is done; shows (windows done, windows in all)."""

    def __init__(self, show: Callable[[int, int], None]) -> None:
        self._show, self._done, self._total = show, 0, 0

    def __call__(self) -> None:
        self._done += 1
        self._show(self._done, self._total)

    def expect(self, more: int) -> None:
        """There will be more windows."""
        self._total += more


@contextmanager
def reporter(progress: Progress) -> Iterator[Report]:
    """Calls the user's function, or moves a bar, each time a window is done."""
    if callable(progress):
        yield Report(progress)
    elif progress:
        from rich.console import Console
        from rich.progress import Progress as Bar

        with Bar(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("compressing", total=None)
            yield Report(lambda done, all_: bar.update(task, completed=done, total=all_))
    else:
        yield Report(lambda done, all_: None)
