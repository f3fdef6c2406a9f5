"""What is asked of a task, and the lazy list of cases that it answers with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, overload

from ..errors import InputError
from .case import Case

CountTokens = Callable[[str], int]
"""The number of tokens of a text; control tokens do not count."""

_Plan = TypeVar("_Plan")


@dataclass(frozen=True)
class TaskOptions:
    """What is asked of a task.

    Args:
        lengths: tokens of the text, its needles included.
        depths: how many depths, evenly from 0 to 100 %; a single one is the middle.
        samples: cases for each combination of the above.
        seed: the same seed, the same cases.
        haystack: ``"pydoc"``, ``"noise"``, or a text file or a folder of .txt and .md files. None: what the task is
            known with; for ``qa``, no haystack at all.
        files: JSONL files of questions, for ``qa`` and the two question shapes of ``ruler``.
        limit: at most so many cases of each task and variant (of each file for ``qa``), drawn by the seed.

    Raises:
        InputError: a value out of range.
    """

    lengths: tuple[int, ...] = (4_000, 16_000, 64_000)
    depths: int = 5
    samples: int = 1
    seed: int = 0
    haystack: str | None = None
    files: tuple[Path, ...] = ()
    limit: int | None = None

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths) < 1 or len(set(self.lengths)) < len(self.lengths):
            raise InputError(f"lengths must be different whole numbers of tokens from 1 on, got {self.lengths!r}")
        if not 1 <= self.depths <= 101:
            raise InputError(f"depths is how many depths to try, 1 to 101, got {self.depths!r}")
        if self.samples < 1:
            raise InputError(f"samples must be at least 1, got {self.samples!r}")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit must be at least 1, got {self.limit!r}; leave it out to have all cases")

    @property
    def percents(self) -> tuple[float, ...]:
        """The depths in percent."""
        steps = self.depths - 1
        return tuple(round(100 * step / steps, 2) for step in range(self.depths)) if steps else (50.0,)

    def rng(self, task: str, key: str) -> random.Random:
        """The random numbers of one case; they depend on nothing but the seed and the case's own name."""
        return random.Random(f"{self.seed}/{task}/{key}")


class Cases(Sequence[Case]):
    """A list of cases, each made when it is asked for. ``len`` is known at once."""

    def __init__(self, indices: Sequence[int], make: Callable[[int], Case]) -> None:
        self._indices, self._make = indices, make

    @classmethod
    def of(cls, plans: Sequence[_Plan], make: Callable[[_Plan], Case], options: TaskOptions) -> Cases:
        """One case for each plan, or for as many of them as ``options.limit`` allows, spread by chance."""
        indices: Sequence[int] = range(len(plans))
        if options.limit is not None and options.limit < len(plans):
            indices = sorted(random.Random(options.seed).sample(indices, options.limit))
        return cls(indices, lambda index: make(plans[index]))

    @classmethod
    def joined(cls, parts: Sequence[Sequence[Case]]) -> Cases:
        """The cases of all parts, one part after the other."""
        places = [(part, index) for part in parts for index in range(len(part))]

        def make(index: int) -> Case:
            part, inner = places[index]
            return part[inner]

        return cls(range(len(places)), make)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Case]:
        return map(self._make, self._indices)  # Sequence's own would take an IndexError of ``make`` for the end

    @overload
    def __getitem__(self, item: int) -> Case: ...
    @overload
    def __getitem__(self, item: slice) -> Cases: ...
    def __getitem__(self, item: int | slice) -> Case | Cases:
        if isinstance(item, slice):
            return Cases(self._indices[item], self._make)
        return self._make(self._indices[item])
