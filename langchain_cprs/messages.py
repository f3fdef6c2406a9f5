"""LangChain's messages as chats have them, and copies of them in other words."""

from __future__ import annotations

from typing import Any, TypeVar

from langchain_core.messages import BaseMessage

from cprs_core.chat import messages as chat
from cprs_core.chat.memory import Sent

METADATA_KEY = "cprs"
_ROLES = {"human": "user", "ai": "assistant"}

MessageT = TypeVar("MessageT", bound=BaseMessage)


def as_chat(message: BaseMessage) -> dict[str, Any]:
    """A message as chats have it."""
    return {"role": _ROLES.get(message.type, message.type), "content": message.content}


def as_asked(message: BaseMessage) -> dict[str, Any]:
    """The same, for finding questions: a compressed message asks what it was compressed for, not all that is left of it."""
    query = message.response_metadata.get(METADATA_KEY, {}).get("query")
    return as_chat(message) if query is None else {**as_chat(message), "content": query}


def texts(message: BaseMessage) -> list[str]:
    """The texts of a human's or a tool's message."""
    return [text.text for text in chat.texts(as_chat(message))]


def is_fresh(message: BaseMessage) -> bool:
    """Whether it is still to be decided how a message is sent."""
    return METADATA_KEY not in message.response_metadata


def with_sent(message: MessageT, sent: Sent) -> MessageT:
    """A copy of a message as it is sent, with the note; the message itself where there is nothing to note."""
    if not sent.note:
        return message
    shorter = as_chat(message)
    for text, words in zip(chat.texts(shorter), sent.texts, strict=False):  # no words = whole
        shorter = chat.replace(shorter, text.path, words)
    noted = {**message.response_metadata, METADATA_KEY: dict(sent.note)}
    return message.model_copy(update={"content": shorter["content"], "response_metadata": noted})
