"""What to keep, in plain words: the prompt ``p`` of the paper (section 2.1) and the tags that it names.

An instruction is text for the model plus two facts for the code: the *tags* that the critic scores and the *unit* that a
kept span is completed to. It renders to the prefix that stands in front of every window:

    <|im_start|>system\\n{prompt}<|im_end|>\\n<|im_start|>user\\n{query}<|im_end|>\\n<|im_start|>context\\n
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .errors import InputError, InstructionError
from .segments import Unit

DEFAULT_TAG = "fact"
UNITS: tuple[Unit, ...] = ("word", "sentence", "line", "paragraph")

_RULE = "## tagging rule:"
# "tag the needles with 'needle'", and the same in Chinese, in a line that speaks of tags: other quoted words are no tags
_TAGGING = re.compile(r"\b[Tt]ag|标")
_NAMED = re.compile(r"(?:\bwith|\bas|用|为)\s*['\"‘“「`]([^'\"’”」`\n]{1,40})['\"’”」`]")


@dataclass(frozen=True)
class Control:
    """A control token of the model, as opposed to text that happens to look like one."""

    token: str


@dataclass(frozen=True)
class Instruction:
    """A plain-language instruction.

    Args:
        prompt: what the model reads as its system prompt, tagging rule included.
        tags: the tag words of the tagging rule; the critic gives every token a score for each.
        unit: what a kept span is completed to. ``"word"`` keeps exact wording; the others keep whole sentences, lines or
            paragraphs.

    Raises:
        InstructionError: no prompt, no tag, an empty or repeated tag, or an unknown unit.
    """

    prompt: str
    tags: tuple[str, ...] = (DEFAULT_TAG,)
    unit: Unit = "sentence"

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise InstructionError("the instruction is empty; say in plain words what to keep, or use a preset")
        words = self.tags if isinstance(self.tags, (tuple, list)) else ()
        if not words or any(not isinstance(tag, str) or not tag.strip() for tag in words):
            raise InstructionError(f"tags must be non-empty words, got {self.tags!r}; for example tags=('fact',)")
        for text in (self.prompt, *words):
            check_text("the instruction", text)
        if len(set(self.tags)) < len(self.tags):
            raise InstructionError(f"each tag may appear once, got {self.tags!r}; remove the repeated ones")
        if self.unit not in UNITS:
            raise InstructionError(f"unknown unit {self.unit!r}; use one of {', '.join(UNITS)}")

    @classmethod
    def of(cls, value: Instruction | str | None) -> Instruction:
        """Any form that users pass: an instruction, plain words, or None for :meth:`sentences`."""
        if value is None:
            return cls.sentences()
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.from_text(value)
        raise InputError(f"an instruction is a string or an Instruction, not {type(value).__name__}")

    @classmethod
    def from_text(cls, text: str, *, unit: Unit = "sentence") -> Instruction:
        """Plain words. Tags are those that the text names (``tag ... with 'needle'``); if none, a tagging rule is added.

        >>> Instruction.from_text("Keep what is said about money.").tags
        ('fact',)
        """
        lines = text.splitlines() if isinstance(text, str) else []
        tags = tuple(dict.fromkeys(tag for line in lines if _TAGGING.search(line) for tag in _NAMED.findall(line)))
        if tags:
            return cls(text, tags, unit)
        if not isinstance(text, str) or not text.strip():
            raise InstructionError("the instruction is empty; say in plain words what to keep, or use a preset")
        return cls(f"{text.rstrip()}\n{_RULE}\n- tag the matching text with '{DEFAULT_TAG}'", (DEFAULT_TAG,), unit)

    @classmethod
    def preset(cls, name: str) -> Instruction:
        """A ready-made instruction by its name, see ``PRESETS``. ``"entities:drugs"`` passes the kind."""
        kind, _, argument = name.partition(":") if isinstance(name, str) else ("", "", "")
        make = PRESETS.get(kind)
        if make is None or (argument and kind != "entities"):
            raise InstructionError(f"unknown preset {name!r}; use one of {', '.join(PRESETS)} (entities:KIND names a kind)")
        return cls.entities(argument) if argument else make()

    @classmethod
    def sentences(cls) -> Instruction:
        """Whole sentences that help to answer the query. The default."""
        return cls(
            "You are an expert for information extraction, your task is to extract some sentences from the documents as "
            f"the supporting facts of the user's question.\n{_RULE}\n- tag the supporting facts with 'fact'",
            ("fact",),
        )

    @classmethod
    def answer(cls) -> Instruction:
        """The exact words that answer the query."""
        return cls(
            "You are an expert for information extraction, your task is to extract the exact words from the documents "
            f"that answer the user's question.\n{_RULE}\n- tag the exact words with 'answer'",
            ("answer",),
            "word",
        )

    @classmethod
    def paragraphs(cls) -> Instruction:
        """Whole paragraphs that the query is about."""
        return cls(
            "You are an expert for information extraction, your task is to extract the paragraphs from the documents that "
            f"are about the user's question.\n{_RULE}\n- tag the paragraphs with 'paragraph'",
            ("paragraph",),
            "paragraph",
        )

    @classmethod
    def entities(cls, kind: str = "keywords") -> Instruction:
        """Keywords, or every mention of a named kind of thing (``"drugs"``, ``"people and places"``)."""
        return cls(
            f"You are an expert for information extraction, your task is to extract all mentions of the {kind} that the "
            f"user asks for from the documents.\n{_RULE}\n- tag the mentions with 'entity'",
            ("entity",),
            "word",
        )

    @classmethod
    def needles(cls) -> Instruction:
        """Short statements hidden in unrelated text ("The magic number for X is 7")."""
        return cls(
            "You are an expert for information extraction, your task is to extract the 'needles' from the documents to "
            f"answer user's question.\n{_RULE}\n- tag the needles with 'needle'",
            ("needle",),
        )

    @classmethod
    def chains(cls) -> Instruction:
        """Assignments that lead from a value to variables, such as ``VAR B = VAR A``."""
        return cls(
            "You are an expert for information extraction, your task is to extract the assigment chains like 'VAR XXX1 = "
            f"XXX2' from the documents to answer the question of the user.\n{_RULE}\n- tag the assignment chains with "
            "'chain'",
            ("chain",),
            "word",
        )

    @classmethod
    def code(cls) -> Instruction:
        """Lines of code that the query is about."""
        return cls(
            "You are an expert for information extraction, your task is to extract the code from the documents that the "
            f"user's question is about.\n{_RULE}\n- tag the code with 'code'",
            ("code",),
            "line",
        )

    def render(self, query: str) -> list[str | Control]:
        """The prefix in pieces: text stays text, whatever it contains; only :class:`Control` pieces become control tokens.

        Raises:
            InputError: the query is not a string or holds nothing but white space.
        """
        check_text("query", query)
        if not query.strip():
            raise InputError("the query is empty; ask a question or say what you are looking for")
        start, end = Control("<|im_start|>"), Control("<|im_end|>")
        system, user = f"system\n{self.prompt}", f"user\n{query}"
        return [start, system, end, "\n", start, user, end, "\n", start, "context\n"]


PRESETS: dict[str, Callable[[], Instruction]] = {
    "sentences": Instruction.sentences,
    "answer": Instruction.answer,
    "paragraphs": Instruction.paragraphs,
    "entities": Instruction.entities,
    "needles": Instruction.needles,
    "chains": Instruction.chains,
    "code": Instruction.code,
}


def check_text(name: str, value: object) -> None:
    """Raises InputError unless ``value`` is a string that can be encoded."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be a string, not {type(value).__name__}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{name} holds a lone surrogate (half of a UTF-16 pair) at character {error.start}, which is no text; "
                "decode the source with errors='replace'"
            ) from None


def decode_text(name: str, content: bytes) -> str:
    """The UTF-8 text of a file, byte for byte, so that offsets are the file's.

    Raises:
        InputError: it is something else; ``name`` says which file.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not UTF-8 (byte {error.start}); convert it first, for example with: iconv -f latin1 -t utf-8 {name}"
        ) from error
