"""compress_tool: any tool, alone and in LlamaIndex's own agents and workflows, over a fake compressor."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from agents import scripted_llm
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock, ToolCallBlock
from llama_index.core.llms import MockLLM
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.tools import BaseTool, FunctionTool, QueryEngineTool, RetrieverTool, ToolMetadata, ToolOutput
from llama_index.core.tools.calling import acall_tool, call_tool
from llama_index.core.workflow import Context, StartEvent, StopEvent, Workflow, step
from pydantic import BaseModel, ValidationError
from words import KEPT, LONG, Failing, WordCompressor

from cprs_core import InputError
from cprs_core.chat.shorten import NO_GAIN
from llamaindex_cprs import (
    TextCompressionEndEvent,
    TextCompressionStartEvent,
    compress_tool,
    read_original_tool,
)

both = pytest.mark.parametrize("asynchronous", [False, True])


def search(topic: str) -> str:
    """Searches."""
    return LONG


def ours(events: list[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, (TextCompressionStartEvent, TextCompressionEndEvent))]


def call(tool: BaseTool, asynchronous: bool, **args: Any) -> ToolOutput:
    """Through LlamaIndex's own functions for it."""
    return asyncio.run(acall_tool(tool, args)) if asynchronous else call_tool(tool, args)


def returning(raw: Any) -> FunctionTool:
    def tool(topic: str) -> Any:
        """Tells."""
        return raw

    return FunctionTool.from_defaults(tool)


class TestTools:
    @both
    def test_all_but_the_text_stays(self, words: WordCompressor, events: list[Any], asynchronous: bool) -> None:
        tool = FunctionTool.from_defaults(search, description="It searches.")
        wrapped = compress_tool(tool, compressor=words, min_tokens=20, max_tokens=9)
        assert wrapped.metadata == tool.metadata
        output, whole = call(wrapped, asynchronous, topic="leases"), call(tool, asynchronous, topic="leases")
        assert output.content == KEPT and whole.content == LONG
        assert output.model_dump(exclude={"blocks"}) == whole.model_dump(exclude={"blocks"})
        (made,) = words.calls
        assert (made["query"], made["max_tokens"], made.get("asynchronous", False)) == ("leases", 9, asynchronous)
        start, end = ours(events)
        assert (start.origin, start.query, start.texts, start.model_name) == ("tool search", "leases", [LONG], "fake")
        assert (end.origin, end.texts, end.input_tokens, end.kept_tokens) == ("tool search", [KEPT], len(LONG.split()), 4)
        assert [LONG[a:b] for a, b, *_ in end.note["spans"]] == [KEPT]
        assert isinstance(start, TextCompressionStartEvent) and isinstance(end, TextCompressionEndEvent)
        assert start.span_id == end.span_id is not None

    @both
    def test_a_function_will_do(self, words: WordCompressor, asynchronous: bool) -> None:
        wrapped = compress_tool(search, compressor=words, min_tokens=20)
        assert wrapped.metadata.name == "search" and "topic" in wrapped.metadata.get_parameters_dict()["properties"]
        assert call(wrapped, asynchronous, topic="leases").content == KEPT

    @both
    @pytest.mark.parametrize("query", ["Who?", lambda arguments: f"Who has {arguments['topic']}?"])
    def test_the_query_may_be_given(self, words: WordCompressor, query: Any, asynchronous: bool) -> None:
        call(compress_tool(search, query=query, compressor=words, min_tokens=20), asynchronous, topic="leases")
        assert words.calls[0]["query"] == (query if isinstance(query, str) else "Who has leases?")

    @both
    def test_tools_of_indexes(self, words: WordCompressor, asynchronous: bool) -> None:
        index = VectorStoreIndex.from_documents([Document(text=LONG)], embed_model=MockEmbedding(embed_dim=8))
        engine = index.as_query_engine(llm=MockLLM())  # which answers with its prompt
        options: Any = {"compressor": words, "min_tokens": 20}
        for tool in (
            QueryEngineTool.from_defaults(engine, name="ask", description="It answers."),
            RetrieverTool.from_defaults(index.as_retriever(), name="find", description="It finds."),
        ):
            wrapped = compress_tool(tool, **options)
            pair = [asyncio.run(t.acall(input="Who?")) if asynchronous else t.call(input="Who?") for t in (tool, wrapped)]
            whole, output = pair
            assert KEPT in output.content and len(output.content) < len(whole.content)
            assert type(output.raw_output) is type(whole.raw_output) and output.raw_input == whole.raw_input
            assert words.calls[-1]["query"] == "Who?"

    @both
    def test_blocks_that_are_no_text_stay(self, words: WordCompressor, asynchronous: bool) -> None:
        image = ImageBlock(url="http://a/b.png")
        tool = compress_tool(
            returning([TextBlock(text=LONG), image, TextBlock(text="Hi.")]), compressor=words, min_tokens=20
        )
        assert call(tool, asynchronous, topic="a").blocks == [TextBlock(text=KEPT), image, TextBlock(text="Hi.")]

    @both
    @pytest.mark.parametrize("raw", ["Short.", {"rows": LONG}, [LONG], f'{{"rows": "{LONG}"}}'])
    def test_short_texts_structures_and_json_are_left_alone(
        self, words: WordCompressor, raw: Any, asynchronous: bool
    ) -> None:
        output = call(compress_tool(returning(raw), compressor=words, min_tokens=20), asynchronous, topic="a")
        assert output.content == str(raw) and not words.calls

    @both
    def test_models_are_left_alone(self, words: WordCompressor, asynchronous: bool) -> None:
        class Row(BaseModel):
            text: str

        row = Row(text=LONG)
        output = call(compress_tool(returning(row), compressor=words, min_tokens=20), asynchronous, topic="a")
        assert output.content == str(row) and output.raw_output is row and not words.calls

    @both
    def test_errors_and_direct_answers_are_left_alone(self, words: WordCompressor, asynchronous: bool) -> None:
        failed = ToolOutput(tool_name="t", content=LONG, raw_input={}, is_error=True, exception=OSError("away"))

        def handled(raw: Any) -> ToolOutput:
            return failed

        tool = FunctionTool.from_defaults(search, callback=handled)
        output = call(compress_tool(tool, compressor=words, min_tokens=20), asynchronous, topic="a")
        assert output is failed
        direct = FunctionTool.from_defaults(search, return_direct=True)
        assert call(compress_tool(direct, compressor=words, min_tokens=20), asynchronous, topic="a").content == LONG
        assert not words.calls

    @both
    def test_other_base_classes(self, words: WordCompressor, asynchronous: bool) -> None:
        class Plain(BaseTool):
            metadata = ToolMetadata(name="plain", description="It is plain.")

            def __call__(self, input: Any) -> ToolOutput:
                return ToolOutput(tool_name="plain", content=f"{LONG}{input}", raw_input={}, raw_output=1)

        output = call(compress_tool(Plain(), compressor=words, min_tokens=20), asynchronous, input="leases")
        assert (output.content, output.raw_output, words.calls[0]["query"]) == (KEPT, 1, "leases")

    @both
    def test_a_failure_lets_the_original_through_or_raises(self, events: list[Any], asynchronous: bool) -> None:
        tool = compress_tool(search, compressor=Failing(), min_tokens=20)
        assert call(tool, asynchronous, topic="a").content == LONG
        (_, end) = ours(events)
        assert end.texts == [] and end.note["error"].startswith("RuntimeError: ")
        tool = compress_tool(search, compressor=Failing(), min_tokens=20, on_error="raise")
        with pytest.raises(RuntimeError):
            asyncio.run(tool.acall(topic="a")) if asynchronous else tool.call(topic="a")

    def test_what_stays_whole_says_why(self, words: WordCompressor, events: list[Any]) -> None:
        call(compress_tool(returning("keep it. " * 20), compressor=words, min_tokens=20), False, topic="a")
        assert [event.note for event in ours(events)[1:]] == [{"whole": NO_GAIN}]

    @pytest.mark.parametrize("options", [{"max_token": 5}, {"store": 3}, {"max_tokens": 5, "ratio": 0.5}])
    def test_bad_options_are_refused_at_once(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            compress_tool(search, **options)

    def test_what_is_no_tool_is_refused(self) -> None:
        with pytest.raises(InputError, match="not str"):
            compress_tool("search")  # type: ignore[arg-type]


def calling(*names: str, **kwargs: Any) -> ChatMessage:
    given = kwargs or {"topic": "leases"}
    blocks = [ToolCallBlock(tool_call_id=f"{n}", tool_name=name, tool_kwargs=given) for n, name in enumerate(names)]
    return ChatMessage(role="assistant", blocks=blocks)


DONE = ChatMessage(role="assistant", content="Done.")


class TestAgents:
    def ask(self, tools: list[Any], answers: list[ChatMessage], workflow: bool = False, **options: Any) -> list[list[str]]:
        """What the LLM of an agent is sent."""
        sent: list[list[ChatMessage]] = []
        agent = FunctionAgent(name="a", description="a", llm=scripted_llm(answers, sent), tools=tools, **options)

        async def run() -> Any:
            runner: Any = AgentWorkflow(agents=[agent]) if workflow else agent
            return await runner.run(user_msg="Who?")

        assert str(asyncio.run(run())) == "Done."
        return [[message.content or "" for message in messages] for messages in sent]

    @pytest.mark.parametrize("workflow", [False, True])
    @pytest.mark.parametrize("streaming", [False, True])
    def test_the_query_is_the_users_question_and_the_arguments(
        self, words: WordCompressor, workflow: bool, streaming: bool
    ) -> None:
        tool = compress_tool(search, compressor=words, min_tokens=20)
        sent = self.ask([tool], [calling("search", "search"), DONE], workflow, streaming=streaming)
        assert sent[-1] == ["Who?", "", KEPT, KEPT]
        assert [call["query"] for call in words.calls] == ["Who?\nleases"] * 2

    def test_tools_that_need_the_context_get_it(self, words: WordCompressor) -> None:
        async def recall(ctx: Context, topic: str) -> str:
            """Recalls."""
            return f"{LONG} I keep {await ctx.store.get('user_msg_str')}."

        tool = compress_tool(recall, compressor=words, min_tokens=20)  # type: ignore[arg-type]
        sent = self.ask([tool], [calling("recall"), DONE])
        assert sent[-1][-1] == f"{KEPT} I keep Who?."
        assert words.calls[0]["query"] == "Who?\nleases"

    @pytest.mark.parametrize("make", [SimpleKVStore, dict])
    def test_originals_are_read_by_their_reference(self, words: WordCompressor, make: Callable[[], Any]) -> None:
        options: Any = {"compressor": words, "min_tokens": 20, "store": make()}
        sent: list[list[ChatMessage]] = []

        class Answers(list[ChatMessage]):
            def __getitem__(self, number: Any) -> ChatMessage:
                if number == 1:
                    return calling("read_original", reference=str(sent[1][-1].content).split("'")[1])
                return [calling("search"), DONE, calling("read_original", reference="no"), DONE][number]

        tools = [compress_tool(search, **options), read_original_tool(**options)]
        agent = FunctionAgent(llm=scripted_llm(Answers(), sent), tools=tools)

        async def run() -> Any:
            return await agent.run(user_msg="Who?")

        asyncio.run(run())
        texts = [message.content for message in sent[-1]]
        assert texts[2] is not None and texts[2].startswith(f"{KEPT}\n[4 of ")
        assert texts[4] == LONG
        assert "no original with the reference 'no'" in str(texts[6])

    def test_in_a_workflow_of_ones_own(self, words: WordCompressor) -> None:
        tool = compress_tool(search, query="Who?", compressor=words, min_tokens=20)

        class Flow(Workflow):
            @step
            async def look(self, event: StartEvent) -> StopEvent:
                return StopEvent(result=(await tool.acall(topic=event.topic)).content)

        async def run() -> Any:
            return await Flow().run(topic="leases")

        assert asyncio.run(run()) == KEPT and words.calls[0]["query"] == "Who?"
