"""Results as HTML: no scripts, no requests, all text escaped; colours for light and dark that all can read."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .stretches import Stretch, stretches, summary

if TYPE_CHECKING:
    from ..result import Compression

_SHOWN = 200
_LIGHT = ((253, 248, 228), (255, 200, 50))  # what a score of 0 and one of 1 lie on
_DARK = ((42, 39, 32), (128, 93, 10))
_STYLE = """
:root { color-scheme: light dark; }
body { max-width: 50rem; margin: 0 auto; padding: 1rem; font-family: system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
"""


def fragment(result: Compression, *, scroll: bool = True) -> str:
    """The source with its kept spans shaded by score, the rest pale, long stretches of it folded away (click to unfold).
    With ``scroll`` a long one gets a bar of its own."""
    source = result.source
    body = "".join(_stretch(source, stretch) for stretch in stretches(result, _SHOWN))
    head = f"<b>{html.escape(result.query)}</b> &middot; {summary(result)}"
    bar = ' tabindex="0" role="region" aria-label="The text, kept spans marked"' if scroll else ""
    size = ";max-height:60em;overflow:auto" if scroll else ""
    return (
        f'<div class="cprs" style="font-family:sans-serif;line-height:1.6"><p>{head}</p>'
        f'<div dir="auto" style="white-space:pre-wrap{size}"{bar}>{body}</div></div>'
    )


def page(results: Sequence[Compression], titles: Sequence[str]) -> str:
    """A self-contained page of some results, each under its title."""
    pairs = zip(results, titles, strict=True)
    sections = "\n".join(f"<h2>{html.escape(title)}</h2>{fragment(result, scroll=False)}" for result, title in pairs)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><title>Compressed text</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>Compressed text</h1>{sections}</main></body></html>\n"
    )


def _stretch(source: str, stretch: Stretch) -> str:
    text = html.escape(source[stretch.start : stretch.end])
    if stretch.span is not None:
        title = html.escape(f"{stretch.span.tag} {stretch.score:.2f}")
        light, dark = (_shade(*ends, stretch.score) for ends in (_LIGHT, _DARK))
        # The first of each pair is for browsers that do not know light-dark().
        ground = f"background:{light};background:light-dark({light},{dark})"
        ink = "color:#1a1c20;color:light-dark(#1a1c20,#eceef1)"
        return f'<mark title="{title}" style="{ground};{ink};border-bottom:2px solid #c79a1b">{text}</mark>'
    if stretch.folded:
        summary = f"<summary>&hellip; {stretch.end - stretch.start:,} characters left out &hellip;</summary>"
        text = f'<details style="display:inline">{summary}{text}</details>'
    return f'<span style="opacity:.65">{text}</span>'


def _shade(low: tuple[int, int, int], high: tuple[int, int, int], score: float) -> str:
    return "#" + "".join(f"{round(a + (b - a) * score):02x}" for a, b in zip(low, high, strict=True))
