"""compress_tool: any tool of LlamaIndex, with its long outputs compressed; and a tool to read the originals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from llama_index.core.base.llms.types import TextBlock
from llama_index.core.tools import AsyncBaseTool, BaseTool, FunctionTool, ToolOutput, adapt_to_async_tool
from pydantic import BaseModel

from cprs_core.chat.memory import Sent
from cprs_core.chat.options import AgentArguments, AgentOptions
from cprs_core.chat.query import last_question, tool_query
from cprs_core.chat.reading import ABOUT, OriginalReader
from cprs_core.chat.references import TOOL
from cprs_core.errors import InputError

from .shortener import shortener, with_texts

_STRUCTURES = (dict, list, tuple, set, BaseModel)
_CONTEXT = "cprs_context"  # the argument by which an agent passes its context

Query = str | Callable[[Mapping[str, Any]], str]


def compress_tool(
    tool: BaseTool | Callable[..., Any], *, query: Query | None = None, **options: Unpack[AgentArguments]
) -> FunctionTool:
    """The same tool, with long outputs compressed before an agent sees them.

    Name, description and arguments stay; so do ``raw_input``, ``raw_output`` and blocks that are no text. Errors, JSON,
    structures (a dictionary or list as text), short outputs and tools with ``return_direct`` are left alone.

    Emits :class:`TextCompressionStartEvent` and :class:`TextCompressionEndEvent` with what was kept, or why it was not.

    Args:
        tool: a tool (:class:`FunctionTool`, :class:`QueryEngineTool`, :class:`RetrieverTool`, ...) or a function.
        query: what to keep what matters for, or a function that makes it from the arguments of a call; None = the user's
            question, where an agent runs the tool, and the arguments.
        options: see :class:`~cprs_core.chat.options.AgentOptions`: ``max_tokens`` or ``ratio``, ``min_tokens``,
            ``on_error``, ``store``, ``model``, ``url``, ...; a budget holds for each output. With a ``store``, give agents
            :func:`read_original_tool` too.

    Raises:
        pydantic.ValidationError: an unknown option, one out of range, or two that contradict each other.
        InputError: what is no tool.
    """
    if not isinstance(tool, BaseTool):
        if not callable(tool):
            raise InputError(f"a tool or a function can be wrapped, not {type(tool).__name__}")
        tool = FunctionTool.from_defaults(tool)
    return CompressedTool(adapt_to_async_tool(tool), AgentOptions.model_validate(options), query)


class CompressedTool(FunctionTool):
    """What :func:`compress_tool` returns. A function tool, for those alone are given an agent's context, and with it the
    user's question."""

    def __init__(self, tool: AsyncBaseTool, options: AgentOptions, query: Query | None = None) -> None:
        super().__init__(fn=self.call, async_fn=self.acall, metadata=tool.metadata)
        self.tool = tool
        self._query, self._arguments = query, options.arguments()
        self._shortener = shortener(options, f"tool {tool.metadata.get_name()}")
        name = None
        if isinstance(tool, FunctionTool):
            self._real_fn, name = tool.real_fn, tool.ctx_param_name
        self._passes_context = name is not None
        self.requires_context, self.ctx_param_name = True, name or _CONTEXT

    def call(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """Calls the tool and compresses what it says."""
        _, kwargs = self._without_context(kwargs)
        output = self.tool.call(*args, **kwargs)
        if not (texts := self._texts(output)):
            return output
        return _with(output, self._shortener.shorten(texts, self._asked("", args, kwargs), self._arguments))

    async def acall(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """:meth:`call`; the event loop stays free, also while a model is loaded."""
        context, kwargs = self._without_context(kwargs)
        output = await self.tool.acall(*args, **kwargs)
        if not (texts := self._texts(output)):
            return output
        question = await context.store.get("user_msg_str", default=None) if context is not None else None
        asked = self._asked(question or "", args, kwargs)
        return _with(output, await self._shortener.ashorten(texts, asked, self._arguments))

    def _without_context(self, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The agent's context, and the arguments for the tool itself."""
        context = kwargs.get(str(self.ctx_param_name))
        return context, kwargs if self._passes_context else {k: v for k, v in kwargs.items() if k != self.ctx_param_name}

    def _texts(self, output: ToolOutput) -> list[str]:
        """The texts of an output that may be compressed."""
        structure = isinstance(output.raw_output, _STRUCTURES) and output.content == str(output.raw_output)
        if output.is_error or structure or self.metadata.return_direct:
            return []
        return [block.text for block in output.blocks if isinstance(block, TextBlock)]

    def _asked(self, question: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """The query."""
        arguments = {**{str(number): value for number, value in enumerate(args)}, **kwargs}
        if self._query is not None:
            return self._query if isinstance(self._query, str) else self._query(arguments)
        return tool_query(last_question([{"role": "user", "content": question}]), arguments)


def read_original_tool(**options: Unpack[AgentArguments]) -> FunctionTool:
    """The tool ``read_original``, with which an agent reads the original of a compressed text, or what it says about another
    question.

    Args:
        options: see :class:`~cprs_core.chat.options.AgentOptions`; those of the compressed tools, ``store`` included.

    Raises:
        InputError: no store; and, told to the agent, an unknown reference.
    """
    reader = OriginalReader(AgentOptions.model_validate(options))
    return FunctionTool.from_defaults(reader.read, name=TOOL, description=ABOUT, async_fn=reader.aread)


def _with(output: ToolOutput, sent: Sent) -> ToolOutput:
    """A new output as it is sent; the output itself where it stays whole."""
    return output.model_copy(update={"blocks": with_texts(output.blocks, sent.texts)}) if sent.texts else output
