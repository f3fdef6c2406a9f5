"""What a training window asks for, in ever-changing words: a critic that knows one prompt by heart follows no other."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from ..instruction import Instruction
from .splits import GENERIC, Record
from .tasks import Span, Task

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


_TWO_TAGS = (
    "You are an expert for information extraction, your task is to extract the sentences that help to answer the user's "
    "question, and the exact words of the answer in them.\n## tagging rule:\n- tag the sentences with '{}'\n"
    "- tag the exact words with '{}'",
    "Keep the evidence for the question and point out the answer.\n## tagging rule:\n- tag the evidence with '{}'\n"
    "- tag the answer with '{}'",
)
_WITHOUT = (
    "{} Leave out what only answers this: {}",
    "{} (not: {})",
    '{} Do not keep anything about the question "{}"',
    "Keep everything about this: {} Except for this: {}",
)


def choose_kind(rng: random.Random, record: Record, answers: float = 0.2, paragraphs: float = 0.08) -> str:
    """The preset whose kind of span the record can teach; where several can, the two shares decide."""
    tags = {tag for _, _, tag in record["spans"]} or {"evidence"}
    if record["source"] == "code_py_stdlib":
        return "code"
    exact = "entities" if record["source"] in GENERIC else "answer"
    if "evidence" not in tags or ("answer" in tags and rng.random() < answers):
        return exact
    return "paragraphs" if record["source"] not in GENERIC and rng.random() < paragraphs else "sentences"


def phrase(rng: random.Random, kind: str, query: str) -> Instruction:
    """A preset as it is, or the same wish in other words with another tag."""
    match = _KIND.search(query) if kind == "entities" else None
    ready = Instruction.entities(match[1]) if match else Instruction.preset(kind)
    if rng.random() < 0.5:
        return ready
    phrases, words = _PHRASES[kind]
    word = rng.choice(words)
    return Instruction(rng.choice(phrases).format(word), (word,), ready.unit)


def in_two_tags(rng: random.Random, task: Task, record: Record) -> Task:
    """The task with the sentences of evidence under one tag and the answer in them under another; as it is without one."""
    answers: list[Span] = [(start, end, 1) for start, end, tag in record["spans"] if tag == "answer"]
    inside = [a for a in answers if any(start <= a[0] and a[1] <= end for start, end, _ in task.spans)]
    if not inside:
        return task
    words = rng.choice((("fact", "answer"), ("evidence", "answer"), ("support", "value")))
    return replace(task, spans=task.spans + inside, instruction=Instruction(rng.choice(_TWO_TAGS).format(*words), words))


def several_kinds(rng: random.Random, records: Sequence[Record]) -> Task | None:
    """Two or three records of one context that ask for different kinds of things, as one task with a tag for each kind.
    None if there are not two."""
    by_kind = {match[1].split()[-1].lower(): record for record in records if (match := _KIND.search(record["query"]))}
    kinds = rng.sample(sorted(by_kind), min(len(by_kind), rng.choice((2, 2, 3))))
    if len(kinds) < 2:
        return None
    spans = [
        (start, end, column)
        for column, kind in enumerate(kinds)
        for start, end, tag in by_kind[kind]["spans"]
        if tag == "answer"
    ]
    rules = "\n".join(f"- tag the {kind} with '{kind}'" for kind in kinds)
    prompt = f"You extract all mentions of what the user asks for.\n## tagging rule:\n{rules}"
    query = " ".join(by_kind[kind]["query"] for kind in kinds)
    return Task(query, records[0]["context"], spans, "entities", Instruction(prompt, tuple(kinds), "word"))


def without(rng: random.Random, query: str, other: str) -> str:
    """A query that also says what is not wanted."""
    return rng.choice(_WITHOUT).format(query, other)
