"""Records in other words and shapes, so that a critic learns what is asked and not how a source happens to write."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from .splits import Record

_STOP_WORDS = frozenset(
    "a an the of in on at to for from by with and or is are was were be been do does did has have had what which who whom"
    " whose when where why how many much that this these those it its as into about during than then there".split()
)
_LEAD_INS = (
    "Find: {}",
    "I need to know: {}",
    "Please tell me {}",
    "{} Answer from the documents.",
    "Question: {}",
    "re: {}",
)


def restyle(rng: random.Random, query: str) -> str:
    """The query as people type it: without capitals or question mark, as bare keywords, or with words around it."""
    style = rng.choice(("typed", "typed", "keywords", "lead-in"))
    if style == "lead-in":
        return rng.choice(_LEAD_INS).format(query)
    plain = query.rstrip(" ?.!").lower()
    if style == "typed":
        return plain
    words = [word for word in re.findall(r"[\w'-]+", plain) if word not in _STOP_WORDS]
    return " ".join(words) if len(words) >= 2 else plain


def swap_answer(rng: random.Random, record: Record, others: Sequence[Record]) -> Record:
    """The record with its answer replaced, wherever it stands, by a like answer of another record.

    What is then true in the text is false in the world, so the evidence has to be found by what the question asks, not by
    what the model knows. The record itself if it has no answer span, or none of a few others fits.
    """
    old = {record["context"][start:end] for start, end, tag in record["spans"] if tag == "answer"}
    if not old or any(len(answer) < 3 or answer.lower() in record["query"].lower() for answer in old):
        return record
    shape = _shape(min(old))
    for _ in range(8):
        answers = rng.choice(others)["answers"]
        new = answers[0] if answers else ""
        if new and new not in old and _shape(new) == shape and len(new) < 3 * len(min(old)) + 10:
            return _replaced(record, old, new)
    return record


def rewrap(rng: random.Random, text: str) -> str:
    """Hard-wrapped at a random width. Only spaces become newlines, so offsets stay."""
    width, column = rng.randint(50, 110), 0
    pieces: list[str] = []
    for word in re.split(r"(?<= )", text):
        if column + len(word) > width and pieces and pieces[-1].endswith(" "):
            pieces[-1] = pieces[-1][:-1] + "\n"
            column = 0
        pieces.append(word)
        column = len(word) - word.rfind("\n") - 1 if "\n" in word else column + len(word)
    return "".join(pieces)


def _shape(text: str) -> tuple[bool, bool]:
    return any(character.isdigit() for character in text), text[:1].isupper()


def _replaced(record: Record, old: set[str], new: str) -> Record:
    longest_first = sorted(old, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    matches = [match.span() for match in pattern.finditer(record["context"])]

    def moved(position: int) -> int | None:
        """Where a position of the old text lies in the new one; None inside a replaced answer."""
        shift = 0
        for start, end in matches:
            if position <= start:
                break
            if position < end:
                return None
            shift += len(new) - (end - start)
        return position + shift

    spans = [(moved(start), moved(end), tag) for start, end, tag in record["spans"]]
    if any(start is None or end is None for start, end, _ in spans):
        return record
    context = pattern.sub(lambda _: new, record["context"])
    return {**record, "context": context, "spans": spans, "answers": [new]}  # type: ignore[typeddict-item]
