"""What a tool was asked: the question of the conversation and the arguments of the call. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .messages import find_question, texts

_LONGEST = 200  # characters; what is longer says what to write, not what to look for
_ALL = 500  # characters of all arguments together


def last_question(messages: Sequence[Any]) -> str:
    """The question of the latest message of a user that has one; "" if there is none."""
    found = (find_question(texts(message)) for message in reversed(messages))
    return next((question.text for question in found if question), "")


def tool_query(question: str, arguments: Mapping[str, Any]) -> str:
    """The query for the output of a tool: the question, then the arguments, a line each. The question comes first, for the
    critic looks for what it reads first.

    Arguments are left out that are no words (true, false, lists, objects), that repeat the question, that are longer than
    200 characters, or that come after 500 characters of others.

    >>> tool_query("When does the lease end?", {"path": "lease.txt", "recursive": True})
    'When does the lease end?\\nlease.txt'
    """
    lines, room = [question.strip()], _ALL
    for value in arguments.values():
        line = " ".join(str(value).split()) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
        if line and len(line) <= min(_LONGEST, room) and line not in lines[0]:
            lines.append(line)
            room -= len(line)
    return "\n".join(lines).strip()
