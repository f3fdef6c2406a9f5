"""cprs itself among the compared methods: one pass of the model serves the ranking and the model's own decision."""

from __future__ import annotations

import numpy as np

from ..compressor import ContextCompressor
from ..progress import Progress
from ..spans import TokenScores
from .case import Case
from .methods import Ranker, Scores
from .ranges import Ranges, ranges


class Cprs(Ranker):
    """A sentence scores the mean keep score of its tokens. ``progress`` may be set to watch the windows of a long text."""

    name = "cprs"

    def __init__(self, compressor: ContextCompressor) -> None:
        super().__init__()
        self._compressor = compressor
        self.progress: Progress = None
        self._pass: tuple[Case, TokenScores] | None = None

    def score(self, case: Case, sentences: Ranges) -> Scores:
        """See :class:`~.methods.Ranker`. The scores are probabilities."""
        tokens = self._tokens(case)
        return pool(tokens.ends, tokens.keep.max(1, initial=0), sentences)

    def decide(self, case: Case) -> Ranges:
        """What the model keeps of its own, without a budget: int64 [k, 2]."""
        found = self._compressor.decide(case.text, self._tokens(case), case.instruction)
        return ranges([(start, end) for start, end, _, _ in found])

    def _tokens(self, case: Case) -> TokenScores:
        if self._pass is None or self._pass[0] is not case:
            self._pass = case, self._compressor.scores(case.text, case.query, case.instruction, progress=self.progress)
        return self._pass[1]


def pool(ends: np.ndarray, scores: np.ndarray, sentences: Ranges) -> Scores:
    """Mean score of the tokens that end in each sentence, 0 where none does. (A token may begin with the space before.)

    Args:
        ends: int [t], ascending; characters. scores: float [t], 0 to 1. sentences: int64 [n, 2], characters.
    """
    totals = np.concatenate([[0.0], np.cumsum(scores, dtype=np.float64)])
    first, last = np.searchsorted(ends, sentences.T, side="right")
    return np.asarray((totals[last] - totals[first]) / np.maximum(last - first, 1)).clip(0, 1)
