"""What is compressed: prose of asked lengths, the same for all sides, and questions about it."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

from ..evaluation.haystack import load
from .sides import SEED

QUERIES = (
    "How does a class decide which attributes its instances may have?",
    "What happens when an exception is raised inside a with statement?",
    "Which operators bind more tightly than a comparison?",
)


class Texts:
    """Args:
    count_tokens: of the model.
    """

    def __init__(self, count_tokens: Callable[[str], int]) -> None:
        self._count_tokens = count_tokens
        self.text = cache(self._text)
        self.documents = cache(self._documents)

    def _text(self, tokens: int) -> str:
        """A text of so many tokens, to one percent."""
        return load("pydoc").text(tokens, random.Random(SEED), self._count_tokens)

    def _documents(self, count: int, tokens: int) -> list[str]:
        """Different texts of so many tokens each."""
        rng = random.Random(SEED)
        return [load("pydoc").text(tokens, rng, self._count_tokens) for _ in range(count)]
