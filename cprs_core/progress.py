"""How long work shows that it goes on: a bar, or a call of the user's function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = bool | Callable[[int, int], None] | None
"""``True`` for a bar on standard error, or a function called with (windows done, windows in all)."""


@contextmanager
def reporter(progress: Progress, total: int) -> Iterator[Callable[[], None]]:
    """Calls the user's function, or moves a bar, each time a window is done."""
    if callable(progress):
        done = iter(range(1, total + 1))
        yield lambda: progress(next(done), total)
    elif progress:
        from rich.console import Console
        from rich.progress import Progress as Bar

        with Bar(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("compressing", total=total)
            yield lambda: bar.advance(task)
    else:
        yield lambda: None
