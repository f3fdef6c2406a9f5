"""The tools for agents: LangChain's standard tests, and what they say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from words import KEPT, LONG, WordCompressor

from cprs_core import InputError
from cprs_core.chat.references import References
from cprs_core.chat.shorten import NOTHING
from langchain_cprs import CPRSCompressContextTool, read_original_tool

EXAMPLE = {"text": LONG, "question": "Which one?"}
both = pytest.mark.parametrize("asynchronous", [False, True])


class CompressContext:
    @property
    def tool_constructor(self) -> type[BaseTool]:
        return CPRSCompressContextTool

    @property
    def tool_constructor_params(self) -> dict[str, Any]:
        return {"compressor": WordCompressor()}

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return EXAMPLE


class TestCompressContextUnit(CompressContext, ToolsUnitTests):
    """LangChain's."""


class TestCompressContextIntegration(CompressContext, ToolsIntegrationTests):
    """LangChain's."""


class ReadOriginal:
    @property
    def tool_constructor(self) -> BaseTool:
        return read_original_tool(store={References.key(LONG): LONG}, compressor=WordCompressor())

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"reference": References.key(LONG)}


class TestReadOriginalUnit(ReadOriginal, ToolsUnitTests):
    """LangChain's."""


class TestReadOriginalIntegration(ReadOriginal, ToolsIntegrationTests):
    """LangChain's."""


def call(tool: BaseTool, asynchronous: bool, **args: Any) -> Any:
    request = {"name": tool.name, "args": args, "id": "1", "type": "tool_call"}
    return asyncio.run(tool.ainvoke(request)) if asynchronous else tool.invoke(request)


@both
def test_compress_context_says_what_is_kept(asynchronous: bool) -> None:
    words = WordCompressor()
    message = call(CPRSCompressContextTool(compressor=words, max_tokens=9), asynchronous, **EXAMPLE)
    assert message.content == KEPT
    assert [LONG[start:end] for start, end, *_ in message.artifact["spans"]] == [KEPT]
    assert message.artifact["input_tokens"] == len(LONG.split())
    assert words.calls[0].get("asynchronous", False) is asynchronous
    assert call(CPRSCompressContextTool(compressor=words), asynchronous, text="Not.", question="Who?").content == NOTHING


@both
@pytest.mark.parametrize(
    ("options", "asked", "used"),
    [
        ({"max_tokens": 9}, 7, 7),
        ({"max_tokens": 9}, 20, 9),
        ({"ratio": 0.5}, 7, 7),
        ({}, 7, 7),
        ({"max_tokens": 9}, None, 9),
    ],
)
def test_the_agent_may_ask_for_less(options: Any, asked: Any, used: int, asynchronous: bool) -> None:
    words = WordCompressor()
    call(CPRSCompressContextTool(compressor=words, **options), asynchronous, **EXAMPLE, max_tokens=asked)
    assert words.calls[0]["max_tokens"] == used and "ratio" not in words.calls[0]


@both
def test_the_agent_is_told_what_is_wrong(asynchronous: bool) -> None:
    for args in ({"text": LONG, "question": " "}, {"text": LONG, "question": "Who?", "max_tokens": 0}):
        tool = CPRSCompressContextTool(compressor=WordCompressor(), handle_validation_error=True)
        assert call(tool, asynchronous, **args).status == "error"
    message = call(ReadOriginal().tool_constructor, asynchronous, reference="no")
    assert message.status == "error" and "no original with the reference 'no'" in message.content


def test_originals_need_a_store() -> None:
    with pytest.raises(InputError, match="there is none"):
        read_original_tool()


def test_a_real_model_answers(tiny_options: dict[str, Any]) -> None:
    text = "The licence ends in May. It was signed by Ann. The weather was fine. " * 5
    message = call(CPRSCompressContextTool(**tiny_options), False, text=text, question="When?", max_tokens=30)
    assert message.status == "success" and 0 < message.artifact["kept_tokens"] <= 30
