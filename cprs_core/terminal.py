"""What the commands share: messages on standard error, pages on standard output, and numbers as people write them."""

from __future__ import annotations

import re

from rich.console import Console

from .errors import InputError

STOPPED = 130  # exit code of a command that Ctrl-C ended

errors = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)

_PAGE = 130  # columns of tables that are not printed on a terminal
_COUNT = re.compile(r"(\d+(?:\.\d+)?)([kKmM]?)")
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}


def page() -> Console:
    """Standard output, wide enough for tables."""
    console = Console()
    console.width = console.width if console.is_terminal else _PAGE
    return console


def split(text: str) -> list[str]:
    """The parts of a comma-separated list."""
    return [part.strip() for part in text.split(",")]


def tokens(option: str, text: str) -> int:
    """A number of tokens such as 8000, 8k or 1M.

    Raises:
        InputError: it is none; ``option`` says where it was given.
    """
    match = _COUNT.fullmatch(text)
    if not match:
        raise InputError(f"{option}: {text!r} is no length; give numbers of tokens such as 8000, 128k or 1M")
    return round(float(match[1]) * _UNITS[match[2].lower()])


def short(tokens: int) -> str:
    """``4k``, ``1.5M``: as :func:`tokens` reads them."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if tokens >= unit:
            return f"{tokens / unit:g}{letter}"
    return str(tokens)
