"""The compared methods: each keeps a share of a text's characters. Here are the protocol and the methods without a model.

All see the same sentences. A method that ranks says how much each matters, and the best are kept while they fit.
"""

from __future__ import annotations

import re
import zlib
from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError
from ..spans import best_fitting
from .case import Case
from .ranges import Ranges, covered

Scores = NDArray[np.float64]

_WORD = re.compile(r"\w+")


class Method(Protocol):
    """What is compared."""

    @property
    def name(self) -> str:
        """As tables and plots call it."""
        ...

    def keep(self, case: Case, sentences: Ranges, share: float) -> Ranges:
        """A share (0 to 1) of the text's characters at most, int64 [k, 2], disjoint and in order."""
        ...


class Ranker(ABC):
    """A method that scores sentences. Scores of the last case are kept, so that another method can build on them."""

    name: str

    def __init__(self) -> None:
        self._last: tuple[Case, Scores] | None = None

    @abstractmethod
    def score(self, case: Case, sentences: Ranges) -> Scores:
        """float64 [n]: how much each sentence int64 [n, 2] matters for the query; higher is better."""

    def scores(self, case: Case, sentences: Ranges) -> Scores:
        """:meth:`score`, computed once for a case."""
        if self._last is None or self._last[0] is not case:
            self._last = case, self.score(case, sentences)
        return self._last[1]

    def keep(self, case: Case, sentences: Ranges, share: float) -> Ranges:
        """See :class:`Method`."""
        lengths = sentences[:, 1] - sentences[:, 0]
        return sentences[best_fitting(lengths, self.scores(case, sentences), share * len(case.text))]


class Bm25(Ranker):
    """BM25 over lower-cased words; a sentence is a document, the text is the collection.

    Raises:
        MissingExtraError: rank-bm25 is not installed.
    """

    name = "bm25"

    def __init__(self) -> None:
        super().__init__()
        try:
            from rank_bm25 import BM25Okapi
        except ImportError as error:
            raise MissingExtraError("rank-bm25", "eval") from error
        self._index = BM25Okapi

    def score(self, case: Case, sentences: Ranges) -> Scores:
        """See :class:`Ranker`."""
        words = [_WORD.findall(case.text[start:end].lower()) for start, end in sentences.tolist()]
        if not any(words):
            return np.zeros(len(words))
        return np.asarray(self._index(words).get_scores(_WORD.findall(case.query.lower())), np.float64)


class Fusion(Ranker):
    """Reciprocal rank fusion: the sum of 1 / (60 + rank) over the rankings of other methods (Cormack et al. 2009)."""

    name = "fusion"

    def __init__(self, *rankers: Ranker) -> None:
        super().__init__()
        self.rankers = rankers

    def score(self, case: Case, sentences: Ranges) -> Scores:
        """See :class:`Ranker`."""
        total = np.zeros(len(sentences))
        for ranker in self.rankers:
            order = np.argsort(-ranker.scores(case, sentences), kind="stable")
            total[order] += 1 / (60 + np.arange(1, len(order) + 1))
        return total


class Random(Ranker):
    """Any order; the same for the same seed and case."""

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._seed = seed

    def score(self, case: Case, sentences: Ranges) -> Scores:
        """See :class:`Ranker`."""
        of_case = zlib.crc32(f"{case.task}/{case.key}".encode())
        return np.random.default_rng((self._seed, of_case)).random(len(sentences))


class Lead(Ranker):
    """The beginning of the text."""

    name = "lead"

    def score(self, case: Case, sentences: Ranges) -> Scores:
        """See :class:`Ranker`."""
        return -np.arange(len(sentences), dtype=np.float64)


class Oracle(Ranker):
    """Ranks by the gold itself: what no method can beat. Below full recall where the gold is wider than the budget."""

    name = "oracle"

    def score(self, case: Case, sentences: Ranges) -> Scores:
        """See :class:`Ranker`."""
        return covered(sentences, case.gold) / (sentences[:, 1] - sentences[:, 0])
