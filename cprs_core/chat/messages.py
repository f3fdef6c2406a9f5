"""One message of a chat: its texts, the question in it, and the same message with shorter texts. Pure functions.

Messages are OpenAI's, Anthropic's or LangChain's, as parsed from JSON, and may be of any shape: what is no text of a user or
a tool is never touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

QUESTION = 1_000  # characters of the longest question

_END = re.compile(r"[?？؟]['\"”’»)\]*_]*\Z")
_BORDERS = (
    (re.compile(r"(?!)"), False),  # whole parts
    (re.compile(r"\n[^\S\n]*\n\s*"), False),  # paragraphs
    (re.compile(r"\n\s*"), True),  # lines and sentences count only if they end in a question mark
    (re.compile(r"(?<=[.!?])\s+|(?<=[。！？])(?!\Z)"), True),
)


@dataclass(frozen=True)
class Text:
    """A text of a message: where it is (keys and indices from the message on), and whether a tool said it."""

    path: tuple[str | int, ...]
    text: str
    tool: bool


@dataclass(frozen=True)
class Question:
    """A question in a message: its wording, and ``[start, end]`` of what must stay for it, by the number of the text."""

    text: str
    ranges: dict[int, tuple[int, int]]


def texts(message: Any) -> list[Text]:
    """The texts of a user's or a tool's message, in order."""
    if not isinstance(message, dict) or message.get("role") not in ("user", "tool"):
        return []
    return list(_texts(message.get("content"), ("content",), message["role"] == "tool"))


def _texts(content: Any, path: tuple[str | int, ...], tool: bool) -> Iterator[Text]:
    if isinstance(content, str):
        yield Text(path, content, tool)
    elif isinstance(content, list):
        for number, part in enumerate(content):
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(part, str):  # LangChain's
                yield Text((*path, number), part, tool)
            if kind == "text" and isinstance(part.get("text"), str):
                yield Text((*path, number, "text"), part["text"], tool)
            elif kind == "tool_result" and not tool:  # Anthropic's; they do not nest
                yield from _texts(part.get("content"), (*path, number, "content"), True)


def find_question(found: Sequence[Text]) -> Question | None:
    """The question that the texts of a message ask.

    A short message is its own question. In a long one it is the last part or paragraph if that is short, or the first if
    that one ends in a question mark and the last does not; else the last or first line or sentence, if that ends in a
    question mark. What tools say asks nothing.
    """
    asked = {number: text.text for number, text in enumerate(found) if not text.tool and text.text.strip()}
    if not asked:
        return None
    if sum(map(len, asked.values())) <= QUESTION:
        return Question("\n\n".join(asked.values()).strip(), {number: (0, len(text)) for number, text in asked.items()})
    first, last = min(asked), max(asked)
    for border, only_questions in _BORDERS:
        ends = (last, _last(asked[last], border)), (first, _first(asked[first], border))
        short = [(number, piece) for number, piece in ends if piece is not None]
        questions = [(number, piece) for number, piece in short if _END.search(asked[number][slice(*piece)].rstrip())]
        if not only_questions:
            questions += [(number, piece) for number, piece in short if (number, piece) == ends[0]]
        for number, (start, end) in questions:
            return Question(asked[number][start:end].strip(), {number: (start, end)})
    return None


def _last(text: str, border: re.Pattern[str]) -> tuple[int, int] | None:
    """The last piece with the white space around it, if it is short."""
    body = len(text.rstrip())
    offset = max(body - QUESTION - 1, 0)
    borders = list(border.finditer(text, offset, body))
    if borders:
        return borders[-1].start(), len(text)
    return (0, len(text)) if offset == 0 else None


def _first(text: str, border: re.Pattern[str]) -> tuple[int, int] | None:
    """The first piece with the white space around it, if it is short."""
    start = len(text) - len(text.lstrip())
    found = border.search(text, start, start + QUESTION + 1)
    if found:
        return 0, found.end()
    return (0, len(text)) if len(text) - start <= QUESTION else None


def may_be_long(texts: Sequence[str], min_tokens: int) -> bool:
    """False where a look is enough: a token is a byte at least."""
    return sum(len(text.encode("utf-8", "replace")) for text in texts) >= min_tokens


def is_json(text: str) -> bool:
    """Whether a text is a JSON object or array, which would be broken if something were left out."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def replace(value: Any, path: Sequence[str | int], text: str) -> Any:
    """The same value with another text at a path; the value given is not changed."""
    if not path:
        return text
    copy = value.copy()
    copy[path[0]] = replace(value[path[0]], path[1:], text)
    return copy
