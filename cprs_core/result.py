"""What a compression returns: the kept spans, the text they make, and ways to look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .spans import Candidates


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
        candidates: what could have been kept, with scores; None where a service made it.
        limit: the least score of what is kept, if one was set or is the model's rule.
    """

    source: str
    spans: tuple[Span, ...]
    input_tokens: int
    kept_tokens: int
    query: str
    instruction: str
    model: str
    seconds: float
    candidates: Candidates | None = field(default=None, repr=False, compare=False)
    limit: float | None = field(default=None, compare=False)

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

    def show(self) -> None:
        """Shows the source with its kept spans marked: as :meth:`to_html` in a notebook, in colours in a terminal."""
        from .views import show

        show(self)

    def plot(self, path: str | Path | None = None) -> Figure:
        """A picture of the scores along the text, with what was kept; written to ``path`` if there is one (extra ``plot``).

        Raises:
            MissingExtraError: matplotlib is not installed. InputError: a service made this result, so it has no scores;
            or the picture cannot be written.
        """
        from .views.plot import plot, save

        figure = plot([self])
        if path is not None:
            save(figure, path)
        return figure

    def to_html(self) -> str:
        """The source as an HTML fragment: kept spans shaded by score, the rest pale, long stretches of it folded away
        (click to unfold). All text is escaped; there are no scripts."""
        from .views.html import fragment

        return fragment(self)

    def _repr_html_(self) -> str:
        return self.to_html()

    def __repr__(self) -> str:
        return (
            f"Compression(kept {self.kept_tokens} of {self.input_tokens} tokens, {len(self.spans)} spans, "
            f"text={self.text[:80]!r}{'...' if len(self.text) > 80 else ''})"
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
