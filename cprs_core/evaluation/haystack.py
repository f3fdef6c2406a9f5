"""Text to hide things in: of any length, sized in tokens, with nothing cut where something is put in.

take         as many of some pieces as make so many tokens
Haystack     a source of paragraphs, and texts made of them
load         the built-in sources, a file, or a folder
plant        puts sentences, lines or paragraphs at given depths and says where they stand
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..segments import Unit, segment
from .options import CountTokens

NOISE = "The river is wide. The road is dry. The moon is full. On we walk. Then home once more."
BUILT_IN = ("pydoc", "noise")

_BATCH = 1_000_000  # characters that are held as single pieces, and counted, at a time
_REACH = 2_000  # characters in which a unit usually ends
BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
_PIECE = re.compile(r"\s*\S{1,20}")  # a word; longer runs are cut, as scripts without spaces are
_BETWEEN: dict[Unit, str] = {"sentence": " ", "word": " ", "line": "\n", "paragraph": "\n\n"}


def take(pieces: Iterator[str], tokens: int, count_tokens: CountTokens) -> Iterator[list[str]]:
    """As many of an endless row of pieces as make ``tokens`` tokens, to half a percent or half a piece, batch by batch.

    A batch is half of what is still missing, judged by the characters per token so far. So every piece is tokenised
    once, and a text of any length takes a dozen calls and linear time.
    """
    missing, per_token, chars, taken = tokens, 0.25, 0, 0
    while missing > tokens / 200 and missing * per_token * taken >= chars / 2:
        batch: list[str] = []
        room = min(missing * per_token / 2, _BATCH)
        while room > 0:
            batch.append(next(pieces))
            room -= len(batch[-1])
            chars += len(batch[-1])
        taken += len(batch)
        missing -= count_tokens("".join(batch))
        per_token = chars / max(tokens - missing, 1)
        yield batch


@dataclass(frozen=True)
class Haystack:
    """A source of text.

    Attributes:
        paragraphs: without blank lines in them or white space at their ends; at least one.
    """

    paragraphs: tuple[str, ...]

    def text(self, tokens: int, rng: random.Random, count_tokens: CountTokens) -> str:
        """A text of so many tokens, to one percent; it may end within a sentence, not within a word of 20 letters or less.

        It begins at a random paragraph and goes round: first in the source's order, then in a new order each time.
        """
        words = (match[0] for paragraph in self._round_and_round(rng) for match in _PIECE.finditer(paragraph))
        return "".join("".join(batch) for batch in take(words, tokens, count_tokens)).lstrip("\n")

    def _round_and_round(self, rng: random.Random) -> Iterator[str]:
        start = rng.randrange(len(self.paragraphs))
        order: Sequence[str] = self.paragraphs[start:] + self.paragraphs[:start]
        while True:
            for paragraph in order:
                yield f"\n\n{paragraph}"
            order = rng.sample(self.paragraphs, len(self.paragraphs))


@lru_cache(maxsize=2)
def load(name: str) -> Haystack:
    """A source of text by its name.

    ``"pydoc"`` is the prose of Python's own reference, which comes with every interpreter and differs a little between
    its versions; ``"noise"`` is one line over and over. Any other name is a text file or a folder, whose .txt and .md
    files are read in the order of their paths.

    Raises:
        InputError: there is nothing of that name, it is not UTF-8, or it holds no text.
    """
    if name == "noise":
        return Haystack((NOISE,))
    if name == "pydoc":
        from pydoc_data.topics import topics

        texts = [topics[topic] for topic in sorted(topics)]
    else:
        texts = [_read(path) for path in _files(Path(name))]
    paragraphs = tuple(part.rstrip() for text in texts for part in BLANK_LINES.split(text) if part.strip())
    if not paragraphs:
        raise InputError(f"the haystack {name} holds no text; name another file or folder, or one of: {', '.join(BUILT_IN)}")
    return Haystack(paragraphs)


def plant(text: str, planted: Sequence[tuple[float, str]], unit: Unit = "sentence") -> tuple[str, NDArray[np.int64]]:
    """Puts things into a text at depths in percent, each before the unit that starts there or next.

    Units that begin with a small letter are passed over where another follows soon: they may be the rest of a sentence. A
    sentence that comes to stand at the start of a line gets a line of its own, as lines and paragraphs always do.

    Returns:
        The new text, and int64 [k, 2]: where each planted thing stands in it, in the order given. Before the same unit
        they stand in the order of their depths, and those of the same depth in the order given.
    """
    places = [_start(text, round(len(text) * depth / 100), unit) for depth, _ in planted]
    spans = np.empty((len(planted), 2), np.int64)
    parts: list[str] = []
    length = last = 0

    def add(part: str) -> None:
        nonlocal length
        if part:
            parts.append(part)
            length += len(part)

    for index in sorted(range(len(planted)), key=lambda index: (places[index], planted[index][0])):
        add(text[last : places[index]])
        last = places[index]
        starts_line = last in (0, len(text)) or text[last - 1] == "\n"
        between = "\n" if unit == "sentence" and starts_line else _BETWEEN[unit]
        if parts and not parts[-1].endswith(between):
            add(between)
        spans[index] = length, length + len(planted[index][1])
        add(planted[index][1])
        if last < len(text):
            add(between)
    add(text[last:])
    return "".join(parts), spans


def _start(text: str, position: int, unit: Unit) -> int:
    """Where the next unit starts from ``position`` on, indentation included; the ends of the text count."""
    if position == 0:
        return 0
    while position < len(text):
        # Units are told by what stands before them in their paragraph
        back = max(0, position - _REACH)
        begin = max(back, text.rfind("\n\n", back, position))
        starts = segment(text[begin : position + _REACH], unit)[:, 0] + begin
        if later := starts[starts >= position].tolist():
            # A small letter mostly goes on with a sentence, whatever the layout of its lines says
            start: int = next((start for start in later if not text[start].islower()), later[0])
            line = text.rfind("\n", 0, start) + 1
            return start if text[line:start].strip() else line
        position += _REACH
    return len(text)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"there is no haystack {path}; name a text file, a folder, or one of: {', '.join(BUILT_IN)}")
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in {".txt", ".md"} and file.is_file())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the haystack {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the haystack {path} is not UTF-8 (byte {error.start}); convert it first") from error
