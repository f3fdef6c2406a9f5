"""Results in a terminal: kept spans on yellow, brighter with their score, the rest dim, long stretches of it left out."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.style import Style
from rich.text import Text

from .stretches import Stretch, stretches, summary

if TYPE_CHECKING:
    from ..result import Compression

_SHOWN = 120
_GROUNDS = ("#e6dcb8", "#ecd99a", "#f2d57a", "#f8d158", "#ffcc33")  # black on them reads in any theme
_LEFT_OUT, _FOLD = Style(dim=True), Style(dim=True, italic=True)
# What a document must not do to a terminal: move its cursor, ring, hide or turn round text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def write(result: Compression, console: Console) -> None:
    """Prints a result. Where there are no colours, kept spans stand in brackets."""
    console.print(Text(visible(result.query), Style(bold=True)))
    console.print(Text(summary(result), Style(dim=True)), Text(), sep="\n")
    text = Text(tab_size=4)
    last = "\n"
    for stretch in stretches(result, _SHOWN):
        piece, style = _piece(stretch, result.source, plain=not console.is_terminal)
        if stretch.folded and not last.endswith("\n"):
            text.append("\n")
        text.append(piece, style)
        last = piece
    console.print(text)


def render(results: Sequence[Compression], titles: Sequence[str]) -> str:
    """Results as text with ANSI codes, whether standard output is a terminal or not; each under its title."""
    console = Console(file=io.StringIO(), force_terminal=True, highlight=False)
    for number, (result, title) in enumerate(zip(results, titles, strict=True)):
        if len(results) > 1:
            console.print(Text(f"{chr(10) if number else ''}==> {visible(title)} <=="))
        write(result, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def visible(text: str) -> str:
    """The text with its control characters spelt out, line breaks and tabs excepted."""
    text = text.replace("\r\n", "\n")
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}" if match[0] < "\u0100" else f"\\u{ord(match[0]):04x}", text)


def _piece(stretch: Stretch, source: str, *, plain: bool) -> tuple[str, Style]:
    if stretch.folded:
        return f"[... {stretch.end - stretch.start:,} characters left out ...]\n", _FOLD
    piece = visible(source[stretch.start : stretch.end])
    if stretch.span is None:
        return piece, _LEFT_OUT
    if plain:
        opens, closes = stretch.start == stretch.span.start, stretch.end == stretch.span.end
        piece = f"{'[[' if opens else ''}{piece}{']]' if closes else ''}"
    ground = _GROUNDS[min(len(_GROUNDS) - 1, int(stretch.score * len(_GROUNDS)))]
    return piece, Style(color="#000000", bgcolor=ground, bold=True)
