"""Reading an original again, the whole of it or what it says about a new question: what an agent's tool does."""

from __future__ import annotations

import asyncio

from ..errors import InputError
from .options import AgentOptions
from .shorten import NOTHING

LENGTH = 8_000  # characters that are read at once
ABOUT = (
    "Read the original of a text that was compressed, by the reference at its end. With a question you get the sentences of "
    "the original that help to answer it; without one its characters from start on, at most length of them."
)


class OriginalReader:
    """Reads from the store of some options.

    Raises:
        InputError: they have none.
    """

    def __init__(self, options: AgentOptions) -> None:
        references = options.references()
        if references is None:
            raise InputError("originals are read from a store, and there is none; give the store that they are put in")
        self._references, self._shortener = references, options.shortener()
        self._arguments = options.arguments()

    def read(self, reference: str, question: str = "", start: int = 0, length: int = LENGTH) -> str:
        """What ``ABOUT`` says.

        Raises:
            InputError: an unknown reference, a negative start, or a length under 1.
        """
        text = self._references.get(reference)
        if not question.strip():
            return page(text, start, length)
        return self._shortener.compressor().compress_documents([text], question, **self._arguments)[0].text or NOTHING

    async def aread(self, reference: str, question: str = "", start: int = 0, length: int = LENGTH) -> str:
        """:meth:`read`; the event loop stays free."""
        text = await self._references.aget(reference)
        if not question.strip():
            return page(text, start, length)
        compressor = await asyncio.to_thread(self._shortener.compressor)
        return (await compressor.acompress_documents([text], question, **self._arguments))[0].text or NOTHING


def page(text: str, start: int, length: int) -> str:
    """Some of a text, with a line that says which part it is, unless it is all.

    Raises:
        InputError: a negative start, or a length under 1.
    """
    if start < 0 or length < 1:
        raise InputError(f"start must be 0 or more and length 1 or more, got {start} and {length}")
    some = text[start : start + length]
    return some if len(some) == len(text) else f"{some}\n[characters {start} to {start + len(some)} of {len(text)}]"
