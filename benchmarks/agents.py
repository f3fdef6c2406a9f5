"""What an agent sends to its LLM, with and without compressed tool outputs: ``python benchmarks/agents.py --help``.

The agents are LangChain's and LlamaIndex's own; the LLM is a script that calls the tool once and then answers, and notes all
that it is sent. The tool returns a long text with the answer hidden in it, each time elsewhere.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import typer
from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import StructuredTool
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools import FunctionTool
from llama_index.core.tools.calling import call_tool
from pydantic import Field

from cprs_core import ContextCompressor
from cprs_core.evaluation.haystack import load
from cprs_core.evaluation.niah import Shape, hide
from cprs_core.machine import machine
from cprs_core.models import DEFAULT_MODEL
from langchain_cprs import CPRSToolOutputMiddleware
from llamaindex_cprs import compress_tool

TOOL = "read_report"


class ScriptedChat(GenericFakeChatModel):
    """LangChain's: says the ``messages`` it is made with, one a call, and notes what it is ``sent``."""

    sent: list[list[BaseMessage]] = Field(default_factory=list)

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> Any:
        self.sent.append(list(messages))
        return super()._generate(messages, *args, **options)


def scripted_llm(answers: Sequence[ChatMessage], sent: list[list[ChatMessage]]) -> MockFunctionCallingLLM:
    """LlamaIndex's: says ``answers``, one a call, and notes what it is ``sent``."""

    def respond(messages: Sequence[ChatMessage], **options: Any) -> ChatMessage:
        sent.append(list(messages))
        return answers[len(sent) - 1]

    return MockFunctionCallingLLM(response_generator=respond)


Calls = list[list[str]]  # the texts that an LLM is sent, call by call


def langchain_agent(question: str, text: str, compressor: Any, asynchronous: bool, **options: Any) -> Calls:
    """LangChain's ``create_agent``; no compressor = as it is."""
    call = {"name": TOOL, "args": {"topic": "everything"}, "id": "1"}
    chat = ScriptedChat(messages=iter([AIMessage("", tool_calls=[call]), AIMessage("Done.")]))
    tool = StructuredTool.from_function(lambda topic: text, name=TOOL, description="The report.")
    middleware = [CPRSToolOutputMiddleware(compressor=compressor, **options)] if compressor else []
    agent: Any = create_agent(chat, [tool], middleware=middleware)
    given = {"messages": [{"role": "user", "content": question}]}
    asyncio.run(agent.ainvoke(given)) if asynchronous else agent.invoke(given)
    return [[str(message.text) for message in messages] for messages in chat.sent]


def llamaindex_agent(question: str, text: str, compressor: Any, asynchronous: bool, **options: Any) -> Calls:
    """LlamaIndex's ``FunctionAgent``, which is asynchronous; the synchronous way is a loop of calls."""
    wanted = ToolCallBlock(tool_call_id="1", tool_name=TOOL, tool_kwargs={"topic": "everything"})
    answers = [ChatMessage(role="assistant", blocks=[wanted]), ChatMessage(role="assistant", content="Done.")]
    sent: list[list[ChatMessage]] = []
    llm = scripted_llm(answers, sent)
    tool = FunctionTool.from_defaults(lambda topic: text, name=TOOL, description="The report.")
    if asynchronous:
        used = compress_tool(tool, compressor=compressor, **options) if compressor else tool

        async def run() -> None:
            await FunctionAgent(llm=llm, tools=[used]).run(user_msg=question)

        asyncio.run(run())
    else:
        used = compress_tool(tool, query=question, compressor=compressor, **options) if compressor else tool
        messages = [ChatMessage(role="user", content=question)]
        while calls := llm.get_tool_calls_from_response(
            response := llm.chat_with_tools([used], chat_history=messages), error_on_no_tool_call=False
        ):
            messages.append(response.message)
            for chosen in calls:
                output = call_tool(used, chosen.tool_kwargs)
                messages.append(ChatMessage(role="tool", blocks=output.blocks))
    return [[block.text for m in messages for block in m.blocks if isinstance(block, TextBlock)] for messages in sent]


AGENTS: dict[str, Callable[..., Calls]] = {"LangChain": langchain_agent, "LlamaIndex": llamaindex_agent}


def holds(calls: Iterable[Iterable[str]], answers: Sequence[str]) -> bool:
    """Whether the LLM got all answers."""
    return all(any(answer in text for call in calls for text in call) for answer in answers)


def main(
    tokens: Annotated[int, typer.Option(help="Length of the tool's output.")] = 50_000,
    max_tokens: Annotated[
        int | None, typer.Option(help="Keep at most so many tokens of it.", show_default="the model decides")
    ] = None,
    model: Annotated[str, typer.Option(help="cprs-small, a folder, or a Hugging Face id.")] = DEFAULT_MODEL,
) -> None:
    """Run agents of both frameworks, sync and async, and count the tokens that their LLM is sent."""
    compressor = ContextCompressor.from_pretrained(model)
    options = {} if max_tokens is None else {"max_tokens": max_tokens}

    def count(calls: Calls) -> int:
        return sum(compressor.count_tokens(text) for call in calls for text in call)

    runs = [(name, asynchronous) for name in AGENTS for asynchronous in (False, True)]
    print(f"{'':<20}{'sent whole':>12}{'sent':>8}{'saved':>9}   answer there{'seconds':>10}")
    for number, (name, asynchronous) in enumerate(runs):
        depth, rng = 100 * (number + 0.5) / len(runs), random.Random(number)
        case = hide(Shape(), load("pydoc"), tokens, depth, rng, compressor.count_tokens, task="agents", key=name)
        whole = count(AGENTS[name](case.query, case.text, None, asynchronous))
        began = time.perf_counter()
        calls = AGENTS[name](case.query, case.text, compressor, asynchronous, **options)
        seconds, sent = time.perf_counter() - began, count(calls)
        there = "yes" if holds(calls, case.answers) else "no"
        how = f"{name}, {'async' if asynchronous else 'sync'}"
        print(f"{how:<20}{whole:>12,}{sent:>8,}{1 - sent / whole:>9.2%}   {there:<12}{seconds:>10.1f}")
    found = machine()
    print(f"{model}, output of {tokens:,} tokens; {found['processor']}, {found['threads']} threads, {found['platform']}")


if __name__ == "__main__":
    typer.run(main)
