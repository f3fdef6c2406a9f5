"""One text on its way through the model: its tokens, its windows, and their scores put together again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from .engine import WindowScores
from .instruction import Instruction
from .scoring import Window
from .segments import array, find_units, segment
from .skim import UNLIKELY, Reading, choose
from .spans import I, O, TokenScores
from .tokens import Tokenising, Tokens
from .windows import Merger, plan

if TYPE_CHECKING:
    from numpy.typing import NDArray


_BEHIND = 8  # by how many windows the units are behind: first every GPU gets something to do


@dataclass(frozen=True)
class Job:
    """A text, what is asked of it, and how it is cut: into windows with ``room`` for so many of its tokens.

    ``skim``: whether it is to be skimmed. ``reading``: what is left to read of it once that is done; None = all of it.
    ``guesses`` float32 [n, 4 + T]: the scores of the rest.
    """

    text: str
    query: str
    instruction: Instruction
    source: Tokenising
    prefix: NDArray[np.int32]
    tag_ids: NDArray[np.int32]
    room: int
    overlap: int
    skim: bool = False
    reading: Reading | None = None
    guesses: NDArray[np.float32] | None = None

    def engine_windows(self) -> Iterator[Window]:
        """What runs through the model. Meanwhile, bit by bit, the text is tokenised and cut and, behind that, its units are
        found, so that no GPU waits for all of that."""
        self.ranges.clear()
        known = self.skim or "units" in vars(self)
        coming, found = iter(()) if known else find_units(self.text, self.instruction.unit), []
        behind: deque[int] = deque()
        for ids, end in self._cut():
            yield Window(ids, self.prefix, self.tag_ids, self.skim)
            behind.append(end)
            if len(behind) > _BEHIND:
                end = behind.popleft()
                for unit in coming:
                    found.append(unit)
                    if unit[1] >= end:
                        break
        if not known:
            vars(self)["units"] = array(chain(found, coming))

    def _cut(self) -> Iterator[tuple[NDArray[np.int32], int]]:
        """Ids of each window, and at which character it ends; ``ranges`` gets its place."""
        if self.reading is not None:
            windows = self.reading.windows.tolist()
            for (start, end), later in zip(windows, [*(begin for begin, _ in windows[1:]), None], strict=True):
                self.ranges.append((start, end, later))
                yield self.reading.ids[start:end], len(self.text)
            return
        for start, tokens, later in plan(self.text, self.source, self.room, self.overlap):
            self.ranges.append((start, start + len(tokens), later))
            yield tokens.ids, int(tokens.ends[-1])

    @cached_property
    def ranges(self) -> list[tuple[int, int, int | None]]:
        """Where the windows are that have been cut, in tokens of the text, or of what is read of it; and where the next one
        begins, if there is one."""
        return []

    @property
    def tokens(self) -> Tokens:
        """All tokens of the text."""
        return self.source.whole

    @cached_property
    def units(self) -> NDArray[np.int64]:
        """The candidates for being kept, [u, 2], in characters."""
        return segment(self.text, self.instruction.unit)

    @cached_property
    def window_count(self) -> int:
        """How many windows run through the model."""
        if self.reading is not None:
            return len(self.reading.windows)
        return sum(1 for _ in plan(self.text, self.source, self.room, self.overlap))

    @property
    def about(self) -> int:
        """The same; while the text is not tokenised, by what its first part has for so many characters."""
        if self.reading is not None or self.source.is_done:
            return self.window_count
        first = next((part for part in self.source if len(part)), None)
        return 0 if first is None else max(1, round(len(first) / int(first.ends[-1]) * len(self.text) / self.room))

    def to_skim(self, room: int, overlap: int) -> Job:
        """The same to be skimmed, in windows with ``room`` for so many tokens."""
        return replace(self, skim=True, room=room, overlap=overlap)

    def to_read(self, scores: TokenScores, *how: Any) -> Job:
        """What is left to read, given the skimmer's scores; the other arguments are those of :func:`~.skim.choose`."""
        sentences = self.units if self.instruction.unit == "sentence" else segment(self.text, "sentence")
        guesses = 1 - scores.label_probs[:, O]
        reading = choose(self.tokens, sentences, guesses, *how)
        values = np.concatenate([scores.label_probs, scores.tag_probs], 1)
        values[:, I] = guesses * UNLIKELY
        values[:, O] = 1 - values[:, I]
        new = replace(self, reading=reading, guesses=values)
        vars(new)["units"] = self.units  # found already
        return new

    def merger(self) -> Merger:
        """What the results go into; what is not read is there already."""
        merger = Merger(len(self.tokens) if self.source.is_done else len(self.text), len(self.tag_ids) + 3)
        if self.reading is not None and self.guesses is not None:
            merger.add(self.reading.unread, self.guesses[self.reading.unread])
        return merger

    def merge(self, merger: Merger, results: Iterator[WindowScores], report: Callable[[], None]) -> Iterator[int]:
        """Takes as many results as there are windows. After each, yields up to which token the merged values are final."""
        places = None if self.reading is None else self.reading.places
        if not any(map(len, self.source if places is None else [places])):
            if len(self.tokens):
                yield len(self.tokens)
            return
        for index, values in enumerate(results):
            start, end, later = self.ranges[index]
            found = np.concatenate([values.label_probs, values.tag_probs], 1)
            if places is None:
                merger.reach(end)
                merger.add(slice(start, end), found)
            else:
                own = places[start:end] >= 0
                merger.add(places[start:end][own], found[own])
                if later is not None:
                    later = next(int(place) for place in places[later:] if place >= 0)
            report()
            yield len(self.tokens) if later is None else later
            if later is None:
                return

    def scores(self, merger: Merger, start: int, end: int) -> TokenScores:
        """The scores of the tokens from ``start`` to ``end``."""
        values = merger.mean(start, end)
        return TokenScores(self.tokens.starts[start:end], self.tokens.ends[start:end], values[:, :4], values[:, 4:])

    def all_scores(self, results: Iterator[WindowScores], report: Callable[[], None]) -> TokenScores:
        """The scores of the whole text, once all its windows are done."""
        merger = self.merger()
        deque(self.merge(merger, results, report), maxlen=0)
        return self.scores(merger, 0, len(self.tokens))
