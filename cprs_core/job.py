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
from .tokens import Tokens
from .windows import Merger, plan

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Job:
    """A text, what is asked of it, and the windows [w, 2] (token ranges) that it is cut into.

    ``skim``: whether it is to be skimmed. ``reading``: what is left to read of it once that is done; None = all of it.
    ``guesses`` float32 [n, 4 + T]: the scores of the rest.
    """

    text: str
    query: str
    instruction: Instruction
    tokens: Tokens
    prefix: NDArray[np.int32]
    tag_ids: NDArray[np.int32]
    windows: NDArray[np.int64]
    skim: bool = False
    reading: Reading | None = None
    guesses: NDArray[np.float32] | None = None

    def engine_windows(self) -> Iterator[Window]:
        """What runs through the model. The units are found in between, bit by bit, so that no GPU waits for all of them."""
        ids, windows = (self.tokens.ids, self.windows) if self.reading is None else (self.reading.ids, self.reading.windows)
        known = self.skim or "units" in vars(self)
        coming, found = iter(()) if known else find_units(self.text, self.instruction.unit), []
        for start, end in windows.tolist():
            yield Window(ids[start:end], self.prefix, self.tag_ids, self.skim)
            for unit in coming:
                found.append(unit)
                if unit[1] >= self.tokens.ends[end - 1]:
                    break
        if not known:
            vars(self)["units"] = array(chain(found, coming))

    @cached_property
    def units(self) -> NDArray[np.int64]:
        """The candidates for being kept, [u, 2], in characters."""
        return segment(self.text, self.instruction.unit)

    @property
    def window_count(self) -> int:
        """How many windows run through the model."""
        return len(self.windows if self.reading is None else self.reading.windows)

    def to_skim(self, room: int, overlap: int) -> Job:
        """The same to be skimmed, in windows with ``room`` for so many tokens."""
        return replace(self, skim=True, windows=plan(self.text, self.tokens, room, overlap))

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
        merger = Merger(len(self.tokens), len(self.tag_ids) + 3)
        if self.reading is not None and self.guesses is not None:
            merger.add(self.reading.unread, self.guesses[self.reading.unread])
        return merger

    def merge(self, merger: Merger, results: Iterator[WindowScores], report: Callable[[], None]) -> Iterator[int]:
        """Takes as many results as there are windows. After each, yields up to which token the merged values are final."""
        n = len(self.tokens)
        windows = self.windows if self.reading is None else self.reading.windows
        places = None if self.reading is None else self.reading.places
        if not len(windows) and n:
            yield n
        for index, ((start, end), values) in enumerate(zip(windows.tolist(), results, strict=False)):
            found = np.concatenate([values.label_probs, values.tag_probs], 1)
            later = int(windows[index + 1, 0]) if index + 1 < len(windows) else None
            if places is None:
                merger.add(slice(start, end), found)
            else:
                own = places[start:end] >= 0
                merger.add(places[start:end][own], found[own])
                if later is not None:
                    later = next(int(place) for place in places[later:] if place >= 0)
            report()
            yield n if later is None else later

    def scores(self, merger: Merger, start: int, end: int) -> TokenScores:
        """The scores of the tokens from ``start`` to ``end``."""
        values = merger.mean(start, end)
        return TokenScores(self.tokens.starts[start:end], self.tokens.ends[start:end], values[:, :4], values[:, 4:])

    def all_scores(self, results: Iterator[WindowScores], report: Callable[[], None]) -> TokenScores:
        """The scores of the whole text, once all its windows are done."""
        merger = self.merger()
        deque(self.merge(merger, results, report), maxlen=0)
        return self.scores(merger, 0, len(self.tokens))
