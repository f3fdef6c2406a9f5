"""What a compression returns: the kept spans, the text they make, and ways to look at them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Span:
    """A kept piece of a document, verbatim: ``document[start:end] == text``.

    Attributes:
        start, end: character (code point) offsets, end exclusive.
        score: how sure the critic is that it belongs, 0 to 1 (paper section 2.3).
        tag: the tag word of the instruction that it matches.
    """

    start: int
    end: int
    text: str
    score: float
    tag: str


@dataclass(frozen=True)
class Compression:
    """The words of ``source`` that matter for ``query``.

    Attributes:
        source: the document as given.
        spans: the kept spans, in reading order, disjoint and never empty.
        input_tokens: tokens of ``source``, counted by the critic's tokenizer.
        kept_tokens: tokens of ``text``, counted likewise.
        seconds: wall time of the call that made it (of the whole call, where it had many documents).
    """

    source: str
    spans: tuple[Span, ...]
    input_tokens: int
    kept_tokens: int
    query: str
    instruction: str
    model: str
    seconds: float

    @cached_property
    def text(self) -> str:
        """The spans joined: by a line break where one was left out between them, else by a space if anything was."""
        return join(self.source, [(span.start, span.end) for span in self.spans])

    @property
    def ratio(self) -> float:
        """Kept share of the tokens, 0 to 1."""
        return self.kept_tokens / self.input_tokens if self.input_tokens else 0.0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; the source itself is left out."""
        return {
            "model": self.model,
            "query": self.query,
            "instruction": self.instruction,
            "input_tokens": self.input_tokens,
            "kept_tokens": self.kept_tokens,
            "ratio": self.ratio,
            "seconds": self.seconds,
            "text": self.text,
            "spans": [asdict(span) for span in self.spans],
        }

    def diff(self) -> str:
        """A unified diff from the source to its kept words, line by line: what went, what stayed, what was cut short."""
        lines: list[str] = []
        position = index = 0
        for line in self.source.split("\n"):
            end = position + len(line)
            kept = []
            while index < len(self.spans) and self.spans[index].start < end:
                span = self.spans[index]
                kept.append((max(span.start, position), min(span.end, end)))
                if span.end > end:
                    break
                index += 1
            text = join(self.source, kept)
            if text.strip() == line.strip():
                lines.append(f" {line}")
            else:
                lines.append(f"-{line}")
                lines += [f"+{piece}" for piece in text.split("\n") if text]  # a lone \r in the line gives two pieces
            position = end + 1
        old, new = (sum(line[0] in signs for line in lines) for signs in (" -", " +"))
        return "\n".join(["--- source", "+++ compressed", f"@@ -1,{old} +{min(new, 1)},{new} @@", *lines, ""])

    def to_html(self) -> str:
        """The source as an HTML fragment: kept spans shaded by score, the rest pale, long stretches of it folded away
        (click to unfold). All text is escaped; there are no scripts."""
        parts, last = [], 0
        for span in self.spans:
            parts.append(_left_out(self.source, last, span.start))
            title = html.escape(f"{span.tag} {span.score:.2f}", quote=True)
            shade = f"background:rgba(255,200,0,{0.25 + 0.6 * span.score:.2f});color:inherit"
            parts.append(f'<mark title="{title}" style="{shade}">{html.escape(span.text)}</mark>')
            last = span.end
        parts.append(_left_out(self.source, last, len(self.source)))
        head = (
            f"<b>{html.escape(self.query)}</b> &middot; kept {self.kept_tokens:,} of {self.input_tokens:,} tokens "
            f"({self.ratio:.1%}) in {len(self.spans)} spans"
        )
        body = f'<div style="white-space:pre-wrap;max-height:60em;overflow:auto">{"".join(parts)}</div>'
        return f'<div class="cprs" style="font-family:sans-serif;line-height:1.5"><p>{head}</p>{body}</div>'

    def _repr_html_(self) -> str:
        return self.to_html()

    def __repr__(self) -> str:
        return (
            f"Compression(kept {self.kept_tokens} of {self.input_tokens} tokens, {len(self.spans)} spans, "
            f"text={self.text[:80]!r}{'...' if len(self.text) > 80 else ''})"
        )


def html_page(results: Sequence[Compression], titles: Sequence[str]) -> str:
    """A self-contained HTML page (no scripts, no external requests) of some results, each under its title."""
    sections = "\n".join(f"<h2>{html.escape(t)}</h2>{r.to_html()}" for r, t in zip(results, titles, strict=True))
    style = ":root{color-scheme:light dark}body{max-width:50em;margin:2em auto;padding:0 1em;font-family:sans-serif}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><title>Compressed text</title>'
        f"<style>{style}</style></head><body><main>{sections}</main></body></html>\n"
    )


def join(source: str, ranges: Sequence[tuple[int, int]]) -> str:
    """Joins ranges of ``source``. A separator takes the place of at least one left-out character, so the result is
    never longer than the source."""
    parts, last = [], None
    for start, end in ranges:
        if last is not None and start > last:
            gap = source[last:start]
            parts.append("\n" if "\n" in gap or "\r" in gap else " ")
        parts.append(source[start:end])
        last = end
    return "".join(parts)


_SHOWN = 200  # characters of left-out text that stay in sight on either side of a kept span


def _left_out(source: str, start: int, end: int) -> str:
    """``source[start:end]`` as pale HTML, its middle folded away if it is long."""
    fold_from = start + (_SHOWN if start else 0)
    fold_to = end - (_SHOWN if end < len(source) else 0)
    if fold_to - fold_from < 2 * _SHOWN:
        pieces = html.escape(source[start:end])
    else:
        summary = f"<summary>&hellip; {fold_to - fold_from:,} characters &hellip;</summary>"
        folded = f'<details style="display:inline">{summary}{html.escape(source[fold_from:fold_to])}</details>'
        pieces = html.escape(source[start:fold_from]) + folded + html.escape(source[fold_to:end])
    return f'<span style="opacity:.55">{pieces}</span>' if pieces else ""
