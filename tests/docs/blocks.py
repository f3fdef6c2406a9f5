"""The code blocks of a Markdown file: what they say, under which heading, and what they say they print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """Code and the ``text`` block right behind it, which is what it prints."""

    path: Path
    line: int
    headings: tuple[str, ...]  # what was said last before it: the heading, and a line such as "Before:"
    language: str
    code: str
    printed: str | None

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a file."""
    text = path.read_text()
    matches = list(_FENCE.finditer(text))
    for match, after in zip_longest(matches, matches[1:]):
        behind = after and after[1] == "text" and not text[match.end() : after.start()].strip()
        prose = _FENCE.sub("", text[: match.start()])
        heading = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)[-1:]
        last = prose.rstrip().splitlines()[-1:]
        line = text.count("\n", 0, match.start()) + 1
        yield Block(path, line, (*heading, *last), match[1], match[2], after[2] if behind else None)


def commands(path: Path) -> Iterator[tuple[int, str]]:
    """The indented lines of a file, which are for a shell, whole: with lines that end in a backslash joined."""
    lines = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), path.read_text()).splitlines()
    number = 0
    while number < len(lines):
        first, line = number, lines[number]
        while line.endswith("\\") and number + 1 < len(lines):
            number += 1
            line = line[:-1] + lines[number].strip()
        if line.startswith("    "):
            yield first + 1, line.strip()
        number += 1
