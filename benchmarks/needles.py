"""Needle test: one planted sentence in long prose that no training text comes from; is its value kept?"""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cprs_core.training.splits import haystack

CHARS_PER_TOKEN = 4.2  # of these books, in the default model's vocabulary; the table gives the measured length
KINDS = {"number": "number", "words": "phrase", "uuid": "uuid"}  # and what a text calls them
FORMS = (
    "The special magic {kind} for {key} is: {value}.",
    "One of the special magic {kind}s for {key} is {value}.",
    "Whoever asks about {key} should be told that its special magic {kind} is {value}.",
    "By the way, {value} is the special magic {kind} for {key}.",
    "For {key} the special magic {kind} was set to {value}.",
)
FIRST = (
    "amber", "brisk", "cobalt", "dusty", "eager", "fallow", "gilded", "hollow", "ivory", "jagged", "keen",
    "lunar", "mellow", "narrow", "opal", "pale",
)  # fmt: skip
SECOND = (
    "anchor", "beacon", "canyon", "dynamo", "ember", "falcon", "garnet", "harbor", "island", "juniper",
    "kettle", "lantern", "meadow", "nickel", "orchard",
)  # fmt: skip


@dataclass(frozen=True)
class Needle:
    """A text with a planted sentence, the question about it and the value that must survive."""

    kind: str
    depth: float  # 0 = start of the text, 1 = end
    text: str
    query: str
    value: str


def needles(folder: str | Path, tokens: int, count: int, seed: int = 0) -> Iterator[Needle]:
    """``count`` texts of about ``tokens`` tokens, depths evenly from 0 to 1, kinds and forms in turn."""
    prose = "\n\n".join(haystack(folder, "valid"))
    length = min(int(tokens * CHARS_PER_TOKEN), len(prose))
    for index in range(count):
        rng = np.random.default_rng((seed, tokens, index))
        start = int(rng.integers(len(prose) - length + 1))
        text = prose[start : start + length]
        depth = index / max(count - 1, 1)
        kind, key = list(KINDS)[index % len(KINDS)], _name(rng)
        value = {
            "number": str(rng.integers(10**6, 10**7)),
            "words": f"{_name(rng)} {_name(rng)}".replace("-", " "),
            "uuid": str(uuid.UUID(bytes=rng.bytes(16), version=4)),
        }[kind]
        sentence = FORMS[index % len(FORMS)].format(kind=KINDS[kind], key=key, value=value)
        place = _sentence_start(text, int(depth * length))
        yield Needle(kind, depth, f"{text[:place]} {sentence} {text[place:]}".strip(),
                     f"What is the special magic {KINDS[kind]} for {key}?", value)  # fmt: skip


def _name(rng: np.random.Generator) -> str:
    return f"{FIRST[rng.integers(len(FIRST))]}-{SECOND[rng.integers(len(SECOND))]}"


def _sentence_start(text: str, position: int) -> int:
    """The first sentence start from ``position`` on; the ends of the text count."""
    if position == 0:
        return 0
    found = re.compile(r"[.!?]\s").search(text, position)
    return found.end() if found else len(text)
