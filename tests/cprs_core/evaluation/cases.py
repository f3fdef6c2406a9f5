"""Small cases, made by hand."""

from __future__ import annotations

from typing import Any

from cprs_core.evaluation.case import Case
from cprs_core.evaluation.ranges import Ranges, ranges
from cprs_core.instruction import Instruction

TEXT = "The key is 4711. Rain fell all day. Nobody came by. The box is red, they say. It was late."


def made(text: str = TEXT, *evidence: str, query: str = "What is the key?", **fields: Any) -> Case:
    """A case in which these words of the text are gold."""
    found = sorted((text.index(words), text.index(words) + len(words)) for words in evidence)
    about = {"task": "t", "key": "k", "instruction": Instruction.sentences(), **fields}
    return Case(query=query, text=text, gold=ranges(found), **about)


def characters(some: Ranges) -> set[int]:
    """A set of characters as a set."""
    return {place for start, end in some.tolist() for place in range(start, end)}
