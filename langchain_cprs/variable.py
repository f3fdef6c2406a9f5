"""compress_variable: a step of a chain that compresses a long variable of a prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Unpack

from langchain_core.runnables import Runnable, RunnableLambda

from cprs_core import adapters
from cprs_core.errors import InputError
from cprs_core.pydantic_options import CompressorOptions, Options


def compress_variable(
    name: str, *, query: str = "question", **options: Unpack[Options]
) -> Runnable[Mapping[str, Any], dict[str, Any]]:
    """A step that compresses one variable for the question that is another, and leaves the rest as it is.

    ``{"context": load, "question": RunnablePassthrough()} | compress_variable("context", max_tokens=800) | prompt | model``

    Args:
        name: the variable that holds the long text.
        query: the variable that holds the question.
        options: see :class:`~cprs_core.pydantic_options.CompressorOptions`.

    Raises:
        pydantic.ValidationError: an unknown option, one out of range, or two that contradict each other.
        InputError: when it runs: a variable that is missing or no string, or an empty question.
    """
    chosen = CompressorOptions.model_validate(options)
    arguments = adapters.arguments(chosen)

    def compress(variables: Mapping[str, Any]) -> dict[str, Any]:
        text, question = (_variable(variables, wanted) for wanted in (name, query))
        results = adapters.resolve_compressor(chosen).compress_documents([text], question, **arguments)
        return {**variables, name: results[0].text}

    async def acompress(variables: Mapping[str, Any]) -> dict[str, Any]:
        text, question = (_variable(variables, wanted) for wanted in (name, query))
        compressor = await asyncio.to_thread(adapters.resolve_compressor, chosen)
        results = await compressor.acompress_documents([text], question, **arguments)
        return {**variables, name: results[0].text}

    return RunnableLambda(compress, acompress, name="compress_variable")


def _variable(variables: Any, name: str) -> str:
    if not isinstance(variables, Mapping):
        raise InputError(f"compress_variable needs a dictionary of variables, got {type(variables).__name__}")
    if name not in variables:
        raise InputError(f"there is no variable {name!r}, only {', '.join(map(repr, variables)) or 'none'}")
    value = variables[name]
    if not isinstance(value, str):
        raise InputError(
            f"the variable {name!r} must be a string, got {type(value).__name__}; join documents to one text first, or "
            "compress them with CPRSDocumentCompressor"
        )
    return value
