"""A whole conversation: for which question, which messages may be compressed, and under which keys they are remembered.

A compressed message must be sent with the same words ever after, or the provider's prompt cache is lost from there on.
So it is remembered for the question that was the latest when it first appeared, as long as that question is still in the
conversation. The price: a later question gets what mattered for an earlier one. Pure functions.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from .messages import Question, Text, find_question, may_be_long, texts


@dataclass(frozen=True)
class Candidate:
    """A message that may be compressed: its number, its texts, and the question in it, which stays.

    ``keys`` are all under which it may be remembered, to be read once; ``key`` is the one under which to remember it.
    """

    index: int
    texts: list[Text]
    own: Question | None
    keys: Iterator[str]
    key: str

    @property
    def words(self) -> list[str]:
        """The texts without their places."""
        return [text.text for text in self.texts]

    @property
    def stays(self) -> dict[int, tuple[int, int]]:
        """``[start, end]`` of the question, by the number of the text."""
        return self.own.ranges if self.own else {}


def candidates(
    messages: Sequence[Any], min_tokens: int, among: Container[int], secret: bytes
) -> tuple[str, list[Candidate]]:
    """The latest question ("" if there is none), and the messages that may have ``min_tokens`` tokens or more.

    Args:
        among: the numbers of the messages that may be compressed.
        secret: what keeps the memories of different clients apart.
    """
    found = [texts(message) for message in messages]
    questions = [find_question(some) for some in found]
    asking = max((number for number, question in enumerate(questions) if question), default=-1)
    chain = prefix_hashes(messages, secret)
    chosen = []
    for index, some in enumerate(found):
        if index not in among or not may_be_long([text.text for text in some], min_tokens):
            continue
        key = _key(index, chain[max(index, asking)])
        chosen.append(Candidate(index, some, questions[index], _keys(index, chain, questions), key))
    question = questions[asking] if asking >= 0 else None
    return question.text if question else "", chosen


def _keys(index: int, chain: Sequence[str], questions: Sequence[Question | None]) -> Iterator[str]:
    """Under which a message may be remembered: with the question before it, or with each one after it."""
    return (_key(index, chain[n]) for n in range(index, len(chain)) if n == index or questions[n])


def _key(index: int, prefix: str) -> str:
    return f"{index} {prefix}"


def prefix_hashes(messages: Sequence[Any], secret: bytes) -> list[str]:
    """For each message, a hash of the conversation up to it.

    What leaves the texts as they are leaves the hash as it is: the assistant's own words (clients drop their reasoning),
    marks for the prompt cache, and whether a text is alone or the only part of a list.
    """
    digest, hashes = sha256(secret), []
    for message in messages:
        if not isinstance(message, dict) or message.get("role") != "assistant":
            digest.update(json.dumps(_essence(message), sort_keys=True, default=repr).encode())
        hashes.append(digest.hexdigest())
    return hashes


def _essence(value: Any) -> Any:
    if isinstance(value, dict):
        essence = {name: _essence(part) for name, part in value.items() if name != "cache_control"}
        if isinstance(content := essence.get("content"), str):
            essence["content"] = [{"type": "text", "text": content}]
        return essence
    return [_essence(part) for part in value] if isinstance(value, list) else value
