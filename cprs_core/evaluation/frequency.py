"""RULER's two aggregation tasks: which words occur most often?

What matters is every occurrence of the wanted words, up to a third of the text, and no single part of the text tells which
words those are. At best a compressor keeps them all: the two show what compression costs where everything counts.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from itertools import chain, cycle, islice
from typing import Any

from ..errors import InputError
from ..instruction import Instruction
from .case import Case
from .haystack import take
from .options import CountTokens
from .ranges import Ranges, ranges
from .values import coded_words, names

COMMON = 10  # words asked for in a list
REPEATS = 30  # of each of them; the other words come three times
FREQUENT = 3  # words asked for in a coded text
DOTS = "..."  # the commonest word of a coded text, which nobody asks for
ENDS = "    \n"  # what follows each word of a coded text, in turn: lines too short to be taken for wrapped prose


def common(length: int, rng: random.Random, count_tokens: CountTokens, **named: Any) -> Case:
    """A numbered list of ``length`` tokens, an entry a line, in which ten words come 30 times and all others 3 times.

    Short lists have fewer repeats, so that there are other words at all.

    Raises:
        InputError: fewer than 600 tokens.
    """
    repeats = min(REPEATS, length // 300)
    others = 3 if repeats >= 10 else 1
    if repeats <= others:
        raise InputError(f"a text of {length} tokens is too short for a list of common words; ask for 600 or more")
    new_word = names(rng, at_most=COMMON + length // (2 * others))
    wanted = list(islice(new_word, COMMON))
    endless = chain(wanted * repeats, (word for word in new_word for _ in range(others)))
    numbered = (f"{number}. {word}\n" for number, word in enumerate(endless, 1))
    words = [line.split()[1] for batch in take(numbered, length, count_tokens) for line in batch]
    rng.shuffle(words)
    text, gold = _written(((f"{number}. ", word, "\n") for number, word in enumerate(words, 1)), set(wanted))
    return Case(
        query=f"Which {COMMON} words occur most often in the list?",
        text=text,
        gold=gold,
        answers=tuple(wanted),
        instruction=Instruction.entities("most frequent words"),
        **named,
    )


def frequent(length: int, rng: random.Random, count_tokens: CountTokens, **named: Any) -> Case:
    """A text of ``length`` tokens of coded words, whose frequencies fall with the square of their rank, and of dots; five to
    a line, so that there are parts to choose from.

    Raises:
        InputError: so few tokens that the wanted words are not more frequent than the next.
    """
    ranked = (word + end for word, end in zip(_by_rank(coded_words(rng, letters=6)), cycle(ENDS), strict=False))
    words = [word.rstrip() for batch in take(ranked, length, count_tokens) for word in batch]
    counts = Counter(word for word in words if word != DOTS).most_common(FREQUENT + 1)
    if len(counts) <= FREQUENT or counts[-1][1] == counts[-2][1]:
        raise InputError(f"a text of {length} tokens is too short to tell which words are frequent; ask for 600 or more")
    wanted = [word for word, _ in counts[:FREQUENT]]
    rng.shuffle(words)
    text, gold = _written((("", word, end) for word, end in zip(words, cycle(ENDS), strict=False)), set(wanted))
    return Case(
        query=f"Which {FREQUENT} coded words occur most often in the text? The dots are no words.",
        text=text,
        gold=gold,
        answers=tuple(wanted),
        instruction=Instruction.entities("most frequent words"),
        **named,
    )


def _by_rank(words: Iterator[str]) -> Iterator[str]:
    """Dots, then words: in any beginning of the row, rank r occurs 1 / r**2 times as often as the dots, give or take one."""
    due = [(0.5, 1, DOTS)]
    while True:
        time, rank, word = heapq.heappop(due)
        yield word
        heapq.heappush(due, (time + rank**2, rank, word))
        if time == rank**2 / 2:  # its first time; the next rank begins later
            heapq.heappush(due, ((rank + 1) ** 2 / 2, rank + 1, next(words)))


def _written(pieces: Iterable[tuple[str, str, str]], wanted: Set[str]) -> tuple[str, Ranges]:
    """The text of all (before, word, after), and where the wanted words stand in it."""
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    length = 0
    for before, word, after in pieces:
        if word in wanted:
            spans.append((length + len(before), length + len(before) + len(word)))
        parts += before, word, after
        length += len(before) + len(word) + len(after)
    return "".join(parts).rstrip(), ranges(spans)
