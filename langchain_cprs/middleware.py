"""Middleware for LangChain's agents: long tool outputs and long human messages, compressed once for the question asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.runtime import Runtime
from langgraph.types import Command

from cprs_core.chat.messages import may_be_long
from cprs_core.chat.options import AgentArguments, AgentOptions
from cprs_core.chat.query import last_question, tool_query
from cprs_core.chat.shrink import Plan, Shrinker
from cprs_core.errors import InputError

from .messages import as_asked, is_fresh, texts, with_sent
from .tools import OURS, read_original_tool

if TYPE_CHECKING:
    from langchain.agents.middleware import ToolCallRequest

ToolResult = ToolMessage | Command[Any]


class _Middleware(AgentMiddleware[AgentState[Any], Any]):
    """What both have in common: the options, and the tool that reads originals."""

    def __init__(self, **options: Unpack[AgentArguments]) -> None:
        super().__init__()
        self.options = AgentOptions.model_validate(options)
        self.tools = [] if self.options.store is None else [read_original_tool(**options)]
        self._shortener, self._arguments = self.options.shortener(), self.options.arguments()


class CPRSToolOutputMiddleware(_Middleware):
    """Compresses long tool outputs before the model sees them, once: they stay in the same words from then on, so that the
    provider's prompt cache stays valid.

    The query is the question of the last human message that has one, and the arguments of the call. A message keeps its id,
    status, artifact and metadata; ``response_metadata["cprs"]`` gets ``spans`` (``[start, end, score, tag]``, in characters
    of the original), ``input_tokens``, ``kept_tokens``, ``original_length``, ``model`` and ``query``. Left alone are errors,
    content that is no text, and the output of tools with ``return_direct``. Of a long output that is left whole for another
    reason, such as JSON, it holds the reason as ``{"whole": ...}``, or as ``{"error": ...}`` where compression failed.

    For an agent: ``create_agent(model, tools, middleware=[CPRSToolOutputMiddleware(max_tokens=500)])``; for a graph of your
    own: ``ToolNode(tools, wrap_tool_call=m.wrap_tool_call, awrap_tool_call=m.awrap_tool_call)``.

    Args:
        include_tools: the tools, or their names, whose output is compressed; None = all.
        exclude_tools: those whose output never is.
        options: see :class:`~cprs_core.chat.options.AgentOptions`: ``max_tokens`` or ``ratio``, ``min_tokens``,
            ``on_error``, ``store``, ``model``, ``url``, ...; a budget holds for each output. A ``store`` gives the agent the
            tool ``read_original`` (for a graph of your own: ``m.tools``).

    Raises:
        pydantic.ValidationError: an unknown option, one out of range, or two that contradict each other.
    """

    def __init__(
        self,
        *,
        include_tools: Collection[BaseTool | str] | None = None,
        exclude_tools: Collection[BaseTool | str] = (),
        **options: Unpack[AgentArguments],
    ) -> None:
        super().__init__(**options)
        self._include = None if include_tools is None else _names("include_tools", include_tools)
        self._exclude = _names("exclude_tools", exclude_tools) | OURS

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolResult]) -> ToolResult:
        """Calls the tool and compresses what it says."""
        result = handler(request)
        found = self._found(request, result)
        sent = [self._shortener.shorten(texts(m), _query(request), self._arguments) for m in found]
        return _put(result, {id(m): with_sent(m, how) for m, how in zip(found, sent, strict=True)})

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolResult]]
    ) -> ToolResult:
        """:meth:`wrap_tool_call`; the event loop stays free, also while a model is loaded."""
        result = await handler(request)
        found = self._found(request, result)
        sent = [await self._shortener.ashorten(texts(m), _query(request), self._arguments) for m in found]
        return _put(result, {id(m): with_sent(m, how) for m, how in zip(found, sent, strict=True)})

    def _found(self, request: ToolCallRequest, result: ToolResult) -> list[ToolMessage]:
        """The messages of a result that may be compressed."""
        name = request.tool_call["name"]
        wanted = name not in self._exclude and (self._include is None or name in self._include)
        if not wanted or getattr(request.tool, "return_direct", False):
            return []
        fresh = [m for m in _tool_messages(result) if m.status != "error" and is_fresh(m)]
        return [m for m in fresh if may_be_long(texts(m), self.options.min_tokens)]


class CPRSMessagesMiddleware(_Middleware):
    """Compresses long human messages before the model sees them, once: they stay in the same words from then on, so that
    the provider's prompt cache stays valid.

    The query is the latest question of the conversation; where it is asked in the long message itself, it stays there word
    for word. The state then holds the compressed message, under the same id, with ``response_metadata["cprs"]`` as of
    :class:`CPRSToolOutputMiddleware`. If the caller keeps the history and sends the originals again, the model gets them in
    the words of the first time, as long as this object lives.

    Args:
        options: see :class:`~cprs_core.chat.options.AgentOptions`; a budget holds for each message.

    Raises:
        pydantic.ValidationError: an unknown option, one out of range, or two that contradict each other.
    """

    def __init__(self, **options: Unpack[AgentArguments]) -> None:
        super().__init__(**options)
        self._shrinker = Shrinker(self._shortener)

    def before_model(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Compresses what is new and long."""
        plan = self._plan(state["messages"])
        self._shrinker.run(plan, self._arguments)
        return _update(state["messages"], plan)

    async def abefore_model(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """:meth:`before_model`; the event loop stays free."""
        plan = await asyncio.to_thread(self._plan, state["messages"])
        await self._shrinker.arun(plan, self._arguments)
        return _update(state["messages"], plan)

    def _plan(self, messages: Sequence[AnyMessage]) -> Plan:
        fresh = {number for number, m in enumerate(messages) if isinstance(m, HumanMessage) and is_fresh(m)}
        return self._shrinker.plan([as_asked(message) for message in messages], fresh)


def _update(messages: Sequence[AnyMessage], plan: Plan) -> dict[str, Any] | None:
    """The messages that are sent in other words, or noted to stay whole; the state puts them in place by their ids."""
    changed = [with_sent(messages[number], sent) for number, sent in plan.sent.items() if sent.note]
    return {"messages": changed} if changed else None


def _query(request: ToolCallRequest) -> str:
    state = request.state
    found = state.get("messages") if isinstance(state, dict) else getattr(state, "messages", state)
    humans = [as_asked(m) for m in found if isinstance(m, HumanMessage)] if isinstance(found, list) else []
    return tool_query(last_question(humans), request.tool_call["args"])


def _tool_messages(result: Any) -> list[ToolMessage]:
    """The tool messages of a result: a message, a command, or a list of them."""
    if isinstance(result, ToolMessage):
        return [result]
    if isinstance(result, Command):
        result = [*result.update.values()] if isinstance(result.update, dict) else result.update
    return [message for item in result for message in _tool_messages(item)] if isinstance(result, list) else []


def _put(result: Any, new: Mapping[int, ToolMessage]) -> Any:
    """The same result with new messages, by the ``id()`` of the old ones."""
    if not new:
        return result
    if isinstance(result, ToolMessage):
        return new.get(id(result), result)
    if isinstance(result, Command):
        old = result.update
        return replace(result, update={k: _put(v, new) for k, v in old.items()} if isinstance(old, dict) else _put(old, new))
    return [_put(item, new) for item in result] if isinstance(result, list) else result


def _names(option: str, tools: Collection[BaseTool | str]) -> frozenset[str]:
    if isinstance(tools, str):
        raise InputError(f"{option} must be a list of tools or of their names; use [{tools!r}]")
    return frozenset(tool if isinstance(tool, str) else tool.name for tool in tools)
