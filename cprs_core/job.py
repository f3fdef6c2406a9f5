"""One text on its way through the model: its tokens, its windows, and their scores put together again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .engine import WindowScores
from .instruction import Instruction
from .scoring import Window
from .segments import segment
from .spans import TokenScores
from .tokens import Tokens
from .windows import Merger

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Job:
    """A text, what is asked of it, and the windows [w, 2] (token ranges) that it is cut into."""

    text: str
    query: str
    instruction: Instruction
    tokens: Tokens
    prefix: NDArray[np.int32]
    tag_ids: NDArray[np.int32]
    windows: NDArray[np.int64]

    def engine_windows(self) -> Iterator[Window]:
        for start, end in self.windows:
            yield Window(self.tokens.ids[start:end], self.prefix, self.tag_ids)
        self.units  # noqa: B018 - found now, while a GPU is at work

    @cached_property
    def units(self) -> NDArray[np.int64]:
        """The candidates for being kept, [u, 2], in characters."""
        return segment(self.text, self.instruction.unit)

    def merge(self, results: Iterator[WindowScores], report: Callable[[], None]) -> Iterator[tuple[int, Merger]]:
        """Takes as many results as there are windows. After each, yields up to which token the merged values are final."""
        merger = Merger(len(self.tokens), len(self.tag_ids) + 3)
        later = [*self.windows[1:, 0].tolist(), len(self.tokens)]
        for (start, _), final, values in zip(self.windows.tolist(), later, results, strict=False):
            merger.add(start, np.concatenate([values.label_probs, values.tag_probs], 1))
            report()
            yield final, merger

    def scores(self, merger: Merger, start: int, end: int) -> TokenScores:
        """The scores of the tokens from ``start`` to ``end``."""
        values = merger.mean(start, end)
        return TokenScores(self.tokens.starts[start:end], self.tokens.ends[start:end], values[:, :4], values[:, 4:])

    def all_scores(self, results: Iterator[WindowScores], report: Callable[[], None]) -> TokenScores:
        """The scores of the whole text, once all its windows are done."""
        merged = deque(self.merge(results, report), maxlen=1)
        return self.scores(merged[0][1] if merged else Merger(0, len(self.tag_ids) + 3), 0, len(self.tokens))
