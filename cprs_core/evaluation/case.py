"""Case: one question put to one text, and what of the text has to survive compression."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..instruction import Instruction


@dataclass(frozen=True)
class Case:
    """What every task makes and every method is measured on.

    Attributes:
        task: the task that made it, with its variant: ``"niah/multikey"``, ``"ruler/vt"``, ``"kv"``, ``"qa/FILE"``.
        key: tells it from the other cases of the task; the same seed gives the same keys.
        gold: int64 [k, 2], the characters that matter, disjoint and in order. Empty: nothing in the text answers.
        answers: strings of which all should survive (``needs_all``), or at least one.
        instruction: what cprs is told to keep.
        about: numbers and words to group results by: ``length`` in tokens, ``depth`` in percent, ``kind`` ...
    """

    task: str
    key: str
    query: str
    text: str
    gold: np.ndarray
    answers: tuple[str, ...] = ()
    needs_all: bool = True
    instruction: Instruction = field(default_factory=Instruction.sentences)
    about: dict[str, Any] = field(default_factory=dict)
