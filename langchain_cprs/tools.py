"""Tools for agents: compress_context, and read_original for what was compressed."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, Unpack

from langchain_core.callbacks import AsyncCallbackManagerForToolRun, CallbackManagerForToolRun
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from cprs_core import adapters
from cprs_core.chat.options import AgentArguments, AgentOptions
from cprs_core.chat.reading import ABOUT, LENGTH, OriginalReader
from cprs_core.chat.references import TOOL
from cprs_core.chat.shorten import NOTHING
from cprs_core.errors import CprsError
from cprs_core.pydantic_options import CompressorOptions
from cprs_core.result import Compression


class CompressContextInput(BaseModel):
    """The arguments of ``compress_context``."""

    text: str = Field(description="The text to compress.")
    question: str = Field(description="What you want to know from it.")
    max_tokens: int | None = Field(default=None, ge=1, description="Keep at most so many tokens. Leave out for the usual.")


class CPRSCompressContextTool(BaseTool, CompressorOptions):
    """A tool with which an agent gets the sentences of a text that help to answer a question, verbatim.

    The artifact holds ``spans`` (``[start, end, score, tag]`` in characters of the text), ``input_tokens``, ``kept_tokens``,
    ``original_length`` and ``model``. What cannot be done (an empty question, a service that is away) is told to the agent.

    Args:
        options: see :class:`~cprs_core.pydantic_options.CompressorOptions`.
    """

    name: str = "compress_context"
    description: str = (
        "Compress a long text for a question: returns, word for word, the sentences of the text that help to answer it. Use "
        "it before you pass a long text on or quote from it."
    )
    args_schema: Any = CompressContextInput
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = True

    def _run(
        self,
        text: str,
        question: str,
        max_tokens: int | None = None,
        run_manager: CallbackManagerForToolRun | None = None,
    ) -> tuple[str, dict[str, Any]]:
        try:
            compressor = adapters.resolve_compressor(self)
            return _answer(compressor.compress_documents([text], question, **self._arguments(max_tokens))[0])
        except CprsError as error:
            raise ToolException(str(error)) from error

    async def _arun(
        self,
        text: str,
        question: str,
        max_tokens: int | None = None,
        run_manager: AsyncCallbackManagerForToolRun | None = None,
    ) -> tuple[str, dict[str, Any]]:
        try:
            compressor = await asyncio.to_thread(adapters.resolve_compressor, self)
            return _answer((await compressor.acompress_documents([text], question, **self._arguments(max_tokens)))[0])
        except CprsError as error:
            raise ToolException(str(error)) from error

    def _arguments(self, max_tokens: int | None) -> dict[str, Any]:
        usual = adapters.arguments(self)
        if max_tokens is None:
            return usual
        usual.pop("ratio", None)  # two budgets contradict each other
        return {**usual, "max_tokens": min(max_tokens, self.max_tokens or max_tokens)}


def read_original_tool(**options: Unpack[AgentArguments]) -> BaseTool:
    """The tool ``read_original``, with which an agent reads the original of a compressed text, or what it says about another
    question. The middleware brings it along; make it yourself for a graph of your own.

    Args:
        options: see :class:`~cprs_core.chat.options.AgentOptions`; those of the middleware, ``store`` included.

    Raises:
        InputError: no store.
    """
    reader = OriginalReader(AgentOptions.model_validate(options))

    def read(reference: str, question: str = "", start: int = 0, length: int = LENGTH) -> str:
        try:
            return reader.read(reference, question, start, length)
        except CprsError as error:
            raise ToolException(str(error)) from error

    async def aread(reference: str, question: str = "", start: int = 0, length: int = LENGTH) -> str:
        try:
            return await reader.aread(reference, question, start, length)
        except CprsError as error:
            raise ToolException(str(error)) from error

    return StructuredTool.from_function(read, aread, name=TOOL, description=ABOUT, handle_tool_error=True)


def _answer(result: Compression) -> tuple[str, dict[str, Any]]:
    return result.text or NOTHING, adapters.statistics(result)


OURS = frozenset((CPRSCompressContextTool.model_fields["name"].default, TOOL))  # what they say is never compressed
