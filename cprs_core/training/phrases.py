"""What a training window asks for, in ever-changing words: a critic that knows one prompt by heart follows no other."""

from __future__ import annotations

import random
import re

from ..instruction import Instruction
from .splits import GENERIC, Record

# Other ways to say what the ready-made instructions say; {} is the tag word. Half of the examples use the ready-made one.
_PHRASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sentences": (
        (
            "You extract the sentences that help to answer the user's question."
            "\n## tagging rule:\n- tag the sentences with '{}'",
            "Keep every sentence of the documents that supports an answer to the question."
            "\n## tagging rule:\n- tag them with '{}'",
            "Find the evidence for the user's request and leave everything else out."
            "\n## tagging rule:\n- tag the evidence with '{}'",
            "Keep what helps to answer the question.\n## tagging rule:\n- tag the matching text with '{}'",
        ),
        ("fact", "fact", "evidence", "support", "sentence", "relevant"),
    ),
    "answer": (
        (
            "You extract the exact words that answer the user's question.\n## tagging rule:\n- tag the words with '{}'",
            "Mark the shortest text that answers the question.\n## tagging rule:\n- tag the answer with '{}'",
        ),
        ("answer", "answer", "span", "value", "word"),
    ),
    "paragraphs": (
        (
            "You extract the paragraphs that are about the user's question."
            "\n## tagging rule:\n- tag the paragraphs with '{}'",
            "Keep whole passages that the question is about.\n## tagging rule:\n- tag the passages with '{}'",
        ),
        ("paragraph", "passage", "block"),
    ),
    "entities": (
        (
            "You extract all mentions of what the user asks for.\n## tagging rule:\n- tag the mentions with '{}'",
            "Mark every name or term that fits the user's request.\n## tagging rule:\n- tag each with '{}'",
        ),
        ("entity", "mention", "name", "term"),
    ),
    "needles": (
        (
            "Find the statements that answer the question; the rest of the text has nothing to do with it.\n"
            "## tagging rule:\n- tag the statements with '{}'",
            "You extract the needles hidden in the text.\n## tagging rule:\n- tag the needles with '{}'",
        ),
        ("needle", "needle", "fact", "statement"),
    ),
    "chains": (
        (
            "You extract the variable assignments that lead to the answer."
            "\n## tagging rule:\n- tag the assignments with '{}'",
        ),
        ("chain", "chain", "assignment"),
    ),
    "code": (
        ("You extract the lines of code that the user looks for.\n## tagging rule:\n- tag the lines with '{}'",),
        ("code", "code", "lines"),
    ),
}
_KIND = re.compile(r"(?:(?:all )?mentions of|every|all|the) (?:the )?([\w\s-]{3,60}?)[.?!]?$")


def choose_kind(rng: random.Random, record: Record) -> str:
    """The preset whose kind of span the record can teach; at random where several can."""
    tags = {tag for _, _, tag in record["spans"]} or {"evidence"}
    if record["source"] == "code_py_stdlib":
        return "code"
    if "evidence" not in tags:
        return "entities" if record["source"] in GENERIC else "answer"
    if "answer" in tags and rng.random() < 0.2:
        return "entities" if record["source"] in GENERIC else "answer"
    if len(record["context"]) < 2000 and record["source"] not in GENERIC and rng.random() < 0.06:
        return "paragraphs"
    return "sentences"


def phrase(rng: random.Random, kind: str, query: str) -> Instruction:
    """A preset as it is, or the same wish in other words with another tag."""
    match = _KIND.search(query) if kind == "entities" else None
    ready = Instruction.entities(match[1]) if match else Instruction.preset(kind)
    if rng.random() < 0.5:
        return ready
    phrases, words = _PHRASES[kind]
    word = rng.choice(words)
    return Instruction(rng.choice(phrases).format(word), (word,), ready.unit)
