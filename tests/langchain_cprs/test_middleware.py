"""The middleware in LangChain's own agents and LangGraph's own nodes, over a fake compressor."""

from __future__ import annotations

import asyncio
import copy
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any

import pytest
from agents import ScriptedChat
from fakes import FakeCompressor
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from pydantic import ValidationError
from words import KEPT, LONG, Failing, WordCompressor

from cprs_core import InputError
from cprs_core.chat.shorten import JSON, NO_QUESTION, NOTHING
from langchain_cprs import CPRSMessagesMiddleware, CPRSToolOutputMiddleware

both = pytest.mark.parametrize("asynchronous", [False, True])
JSON_TEXT = '{"rows": "' + LONG + '"}'


@tool
def search(topic: str) -> str:
    """Searches."""
    return LONG


def calls(*names: str, **args: Any) -> AIMessage:
    given = args or {"topic": "leases"}
    return AIMessage("", tool_calls=[{"name": name, "args": given, "id": f"{n}"} for n, name in enumerate(names)])


def run(agent: Any, messages: Any, asynchronous: bool, config: Any = None) -> list[AnyMessage]:
    given = {"messages": messages if isinstance(messages, list) else [HumanMessage(messages)]}
    return (asyncio.run(agent.ainvoke(given, config)) if asynchronous else agent.invoke(given, config))["messages"]


def tool_messages(messages: list[AnyMessage]) -> list[ToolMessage]:
    return [message for message in messages if isinstance(message, ToolMessage)]


class TestToolOutput:
    def ask(
        self, some: Callable[..., Any] | BaseTool, asynchronous: bool, question: str = "Who?", **options: Any
    ) -> tuple[ToolMessage, ScriptedChat]:
        """The output of a tool as an agent's model sees it."""
        wrapped = some if isinstance(some, BaseTool) else tool(some)
        chat = ScriptedChat(messages=iter([calls(wrapped.name), AIMessage("Done.")]))
        middleware = CPRSToolOutputMiddleware(**{"min_tokens": 20, **options})
        messages = run(create_agent(chat, [wrapped], middleware=[middleware]), question, asynchronous)
        (output,) = tool_messages(messages)
        assert chat.sent[-1][-1].content == output.content  # what is in the state is what was sent
        return output, chat

    @both
    def test_is_compressed_for_the_question_and_the_arguments(self, words: WordCompressor, asynchronous: bool) -> None:
        output, _ = self.ask(search, asynchronous, compressor=words, max_tokens=9)
        assert (output.content, output.status, output.name, output.tool_call_id) == (KEPT, "success", "search", "0")
        noted = output.response_metadata["cprs"]
        assert [LONG[start:end] for start, end, *_ in noted["spans"]] == [KEPT]
        assert (noted["input_tokens"], noted["kept_tokens"]) == (len(LONG.split()), 4)
        assert (noted["model"], noted["query"]) == ("fake", "Who?\nleases")
        (call,) = words.calls
        assert (call["query"], call["max_tokens"], call.get("asynchronous", False)) == ("Who?\nleases", 9, asynchronous)

    @both
    def test_the_question_is_that_of_the_last_human_message(self, words: WordCompressor, asynchronous: bool) -> None:
        chat = ScriptedChat(messages=iter([calls("search"), AIMessage("Done.")]))
        agent = create_agent(chat, [search], middleware=[CPRSToolOutputMiddleware(compressor=words, min_tokens=20)])
        talk = [HumanMessage("Who?"), AIMessage("Ann."), {"role": "user", "content": f"{'word ' * 300}\n\nWhen?"}]
        run(agent, talk, asynchronous)
        assert words.calls[0]["query"] == "When?\nleases"

    @both
    def test_lists_keep_their_other_parts(self, words: WordCompressor, asynchronous: bool) -> None:
        image = {"type": "image", "url": "http://a/b.png"}

        def look(topic: str) -> list[Any]:
            """Looks."""
            return [{"type": "text", "text": LONG, "id": "x"}, image, {"type": "text", "text": "Short."}]

        output, _ = self.ask(look, asynchronous, compressor=words)
        assert output.content == [{"type": "text", "text": KEPT, "id": "x"}, image, {"type": "text", "text": "Short."}]

    @both
    def test_ids_artifacts_and_metadata_stay(self, words: WordCompressor, asynchronous: bool) -> None:
        given = ToolMessage(
            LONG, tool_call_id="0", id="m", artifact={"rows": [LONG]}, response_metadata={"a": 1}, additional_kwargs={"b": 2}
        )
        before = copy.deepcopy(given)

        def fetch(topic: str) -> ToolMessage:
            """Fetches."""
            return given

        output, _ = self.ask(fetch, asynchronous, compressor=words)
        assert output.content == KEPT and output.response_metadata.keys() == {"a", "cprs"}
        same = {"content", "response_metadata", "name"}
        assert output.model_dump(exclude=same) == before.model_dump(exclude=same)
        assert (given.content, given.response_metadata) == (before.content, before.response_metadata)

    @both
    @pytest.mark.parametrize("in_list", [False, True])
    def test_commands(self, words: WordCompressor, in_list: bool, asynchronous: bool) -> None:
        def hand_over(topic: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
            """Hands over."""
            message = ToolMessage(LONG, tool_call_id=tool_call_id)
            command = Command(update={"messages": [message], "jump_to": None})
            return [command] if in_list else command

        output, _ = self.ask(hand_over, asynchronous, compressor=words)
        assert output.content == KEPT and "cprs" in output.response_metadata

    @both
    @pytest.mark.parametrize("text", ["Short.", "word " * 19])
    def test_what_is_short_is_left_alone(self, words: WordCompressor, text: str, asynchronous: bool) -> None:
        def small(topic: str) -> str:
            """Says little."""
            return text

        output, _ = self.ask(small, asynchronous, compressor=words)
        assert (output.content, output.response_metadata, words.calls) == (text, {}, [])

    @both
    def test_errors_are_left_alone(self, words: WordCompressor, asynchronous: bool) -> None:
        def fail(topic: str) -> str:
            """Fails."""
            raise ToolException(LONG)

        failing = tool(fail)
        failing.handle_tool_error = True
        output, _ = self.ask(failing, asynchronous, compressor=words)
        assert (output.content, output.status, words.calls) == (LONG, "error", [])

    @both
    def test_json_stays_whole_and_says_why(self, words: WordCompressor, asynchronous: bool) -> None:
        def rows(topic: str) -> dict[str, str]:
            """Rows."""
            return {"rows": LONG}

        output, _ = self.ask(rows, asynchronous, compressor=words)
        assert (output.content, output.response_metadata, words.calls) == (JSON_TEXT, {"cprs": {"whole": JSON}}, [])

    @both
    def test_what_goes_to_the_user_is_left_alone(self, words: WordCompressor, asynchronous: bool) -> None:
        def report(topic: str) -> str:
            """Reports."""
            return LONG

        agent = create_agent(
            ScriptedChat(messages=iter([calls("report")])),
            [tool(report, return_direct=True)],
            middleware=[CPRSToolOutputMiddleware(compressor=words, min_tokens=20)],
        )
        assert run(agent, "Who?", asynchronous)[-1].content == LONG and not words.calls

    @pytest.mark.parametrize(
        ("options", "compressed"),
        [
            ({"exclude_tools": ["search"]}, False),
            ({"exclude_tools": [search]}, False),
            ({"include_tools": ["other"]}, False),
            ({"include_tools": [search], "exclude_tools": ("other",)}, True),
            ({"include_tools": []}, False),
        ],
    )
    def test_tools_are_included_and_excluded(self, words: WordCompressor, options: Any, compressed: bool) -> None:
        output, _ = self.ask(search, False, compressor=words, **options)
        assert (output.content == KEPT) is compressed

    @both
    def test_a_failure_lets_the_original_through_or_raises(
        self, asynchronous: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        output, _ = self.ask(search, asynchronous, compressor=Failing())
        assert output.content == LONG and output.status == "success"
        assert output.response_metadata["cprs"]["error"].startswith("RuntimeError: ")
        assert "compression failed: RuntimeError" in caplog.messages
        for broken in ({"compressor": Failing()}, {"model": "/no/such/model"}):
            with pytest.raises((RuntimeError, OSError)):
                self.ask(search, asynchronous, on_error="raise", **broken)
        output, _ = self.ask(search, asynchronous, model="/no/such/model")
        assert output.content == LONG and output.response_metadata["cprs"]["error"].startswith("ModelLoadError: ")

    @both
    def test_nothing_relevant_is_said(self, words: WordCompressor, asynchronous: bool) -> None:
        def gossip(topic: str) -> str:
            """Gossips."""
            return "Nothing of this matters. " * 20

        output, _ = self.ask(gossip, asynchronous, compressor=words)
        assert output.content == NOTHING and output.response_metadata["cprs"]["spans"] == []

    @both
    def test_tools_at_once(self, words: WordCompressor, asynchronous: bool) -> None:
        chat = ScriptedChat(messages=iter([calls("search", "search", "search"), AIMessage("Done.")]))
        agent = create_agent(chat, [search], middleware=[CPRSToolOutputMiddleware(compressor=words, min_tokens=20)])
        outputs = tool_messages(run(agent, "Who?", asynchronous))
        assert [(output.content, output.tool_call_id) for output in outputs] == [(KEPT, "0"), (KEPT, "1"), (KEPT, "2")]

    @both
    def test_words_stay_the_same_over_many_turns(self, words: WordCompressor, asynchronous: bool) -> None:
        """The prompt cache of a provider lives on the beginning of what it is sent."""
        answers = [message for n in range(3) for message in (calls("search", topic=f"{n}"), AIMessage(f"{n}."))]
        chat = ScriptedChat(messages=iter(answers))
        agent = create_agent(
            chat,
            [search],
            middleware=[CPRSToolOutputMiddleware(compressor=words, min_tokens=3)],  # KEPT itself is long by this
            checkpointer=InMemorySaver(),
        )
        for n in range(3):
            run(agent, f"Question {n}?", asynchronous, {"configurable": {"thread_id": "1"}})
        sent = [[message.content for message in messages] for messages in chat.sent]
        assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(sent))
        assert [call["query"] for call in words.calls] == [f"Question {n}?" for n in range(3)]
        assert len(words.calls) == len(tool_messages(chat.sent[-1]))


class TestOriginals:
    @both
    def test_the_agent_reads_them_by_their_reference(self, words: WordCompressor, asynchronous: bool) -> None:
        store = InMemoryStore()
        middleware = CPRSToolOutputMiddleware(compressor=words, min_tokens=20, store=store, namespace=("cprs", "ann"))

        class Reader(ScriptedChat):
            def _generate(self, messages: Any, *args: Any, **options: Any) -> Any:
                reference = messages[-1].response_metadata.get("cprs", {}).get("reference")
                if reference:
                    assert reference in messages[-1].content
                    again = [
                        {"reference": reference},
                        {"reference": reference, "question": "Which one?"},
                        {"reference": "no"},
                    ]
                    read = [{"name": "read_original", "args": args, "id": f"r{n}"} for n, args in enumerate(again)]
                    self.messages = iter([AIMessage("", tool_calls=read), AIMessage("Done.")])
                return super()._generate(messages, *args, **options)

        agent = create_agent(Reader(messages=iter([calls("search")])), [search], middleware=[middleware])
        short, whole, asked, unknown = tool_messages(run(agent, "Who?", asynchronous))
        assert short.content.startswith(f"{KEPT}\n[4 of ")
        assert (whole.content, asked.content) == (LONG, KEPT)
        assert unknown.status == "error" and "no original with the reference 'no'" in unknown.content
        (item,) = store.search(("cprs", "ann"))
        assert item.value == {"text": LONG} and not store.search(("other",))
        assert [call["query"] for call in words.calls] == ["Who?\nleases", "Which one?"]

    def test_without_a_store_there_is_no_tool(self) -> None:
        assert CPRSToolOutputMiddleware().tools == [] and CPRSMessagesMiddleware().tools == []


class TestGraphs:
    """LangGraph without LangChain's agent."""

    @both
    @pytest.mark.parametrize("question", ["Who?", ""])
    def test_a_tool_node_of_a_graph(self, words: WordCompressor, question: str, asynchronous: bool) -> None:
        middleware = CPRSToolOutputMiddleware(compressor=words, min_tokens=20)
        node = ToolNode([search], wrap_tool_call=middleware.wrap_tool_call, awrap_tool_call=middleware.awrap_tool_call)
        graph = StateGraph(MessagesState)
        graph.add_node("tools", node)
        graph.add_edge(START, "tools")
        talk = [HumanMessage(question), calls("search")] if question else [calls("search")]
        (output,) = tool_messages(run(graph.compile(), talk, asynchronous))
        assert output.content == KEPT
        assert words.calls[0]["query"] == ("Who?\nleases" if question else "leases")

    @both
    @pytest.mark.parametrize("as_list", [False, True])
    def test_any_state_will_do(self, words: WordCompressor, as_list: bool, asynchronous: bool) -> None:
        middleware = CPRSToolOutputMiddleware(compressor=words, min_tokens=20)
        messages = [HumanMessage("Who?"), AIMessage("So?")]
        given = [LONG]

        def handler(request: ToolCallRequest) -> ToolMessage:
            return ToolMessage(given[0], tool_call_id="0")

        async def ahandler(request: ToolCallRequest) -> ToolMessage:
            return handler(request)

        def ask(state: Any, args: Any) -> ToolMessage:
            call = {"name": "search", "args": args, "id": "0", "type": "tool_call"}
            request = ToolCallRequest(tool_call=call, tool=None, state=state, runtime=None)  # type: ignore[arg-type]
            if asynchronous:
                return asyncio.run(middleware.awrap_tool_call(request, ahandler))  # type: ignore[return-value]
            return middleware.wrap_tool_call(request, handler)  # type: ignore[return-value]

        class State:
            def __init__(self) -> None:
                self.messages = messages

        assert ask(messages if as_list else State(), {}).content == KEPT
        assert words.calls[0]["query"] == "Who?"
        whole = ask({}, {})
        assert (whole.content, whole.response_metadata) == (LONG, {"cprs": {"whole": NO_QUESTION}})


class TestMessages:
    def agent(self, words: WordCompressor, chat: ScriptedChat, **options: Any) -> Any:
        middleware = CPRSMessagesMiddleware(**{"compressor": words, "min_tokens": 20, **options})
        return create_agent(chat, [search], middleware=[middleware], checkpointer=options.pop("checkpointer", None))

    @both
    def test_a_long_message_is_compressed_around_its_question(self, words: WordCompressor, asynchronous: bool) -> None:
        chat = ScriptedChat(messages=iter([calls("search"), AIMessage("Done.")]))
        given = HumanMessage(f"{LONG * 8}\n\nWho?", id="m", name="Ann", response_metadata={"a": 1})
        before = copy.deepcopy(given)
        messages = run(self.agent(words, chat, max_tokens=9), [given], asynchronous)
        assert messages[0].content == f"{KEPT} {KEPT}\n\nWho?"  # 8 tokens of 9
        assert (messages[0].id, messages[0].name) == ("m", "Ann")
        assert messages[0].response_metadata.keys() == {"a", "cprs"}
        assert [sent[0].content for sent in chat.sent] == [messages[0].content] * 2
        assert given == before and len(words.calls) == 1
        assert words.calls[0].get("asynchronous", False) is asynchronous
        assert tool_messages(messages)[0].content == LONG  # that is for the other middleware

    @both
    def test_words_stay_the_same_with_and_without_a_checkpointer(self, words: WordCompressor, asynchronous: bool) -> None:
        middleware = CPRSMessagesMiddleware(compressor=words, min_tokens=3)  # KEPT itself is long by this
        first, second = f"{LONG * 9}\n\nWho?", f"{LONG * 12}\n\nWhen?"
        chat = ScriptedChat(messages=iter([AIMessage(f"{n}.") for n in range(3)]))
        agent = create_agent(chat, [], middleware=[middleware])
        history: list[Any] = []
        for text in (first, second, "Why so? Tell me more of it."):
            history.append(HumanMessage(text))
            history.append(run(agent, list(history), asynchronous)[-1])  # the caller keeps the originals
        stored = ScriptedChat(messages=iter([AIMessage(f"{n}.") for n in range(3)]))
        keeping = create_agent(stored, [], middleware=[middleware], checkpointer=InMemorySaver())
        for text in (first, second, "Why so? Tell me more of it."):
            run(keeping, text, asynchronous, {"configurable": {"thread_id": "1"}})
        for model in (chat, stored):
            sent = [[message.content for message in messages] for messages in model.sent]
            assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(sent))
            assert sent[-1][0] == " ".join([KEPT] * 9) + "\n\nWho?"
            assert sent[-1][2] == " ".join([KEPT] * 12) + "\n\nWhen?"
        assert [call["query"] for call in words.calls[:2]] == ["Who?", "When?"]

    @both
    def test_what_stays_whole_says_why_once(self, words: WordCompressor, asynchronous: bool) -> None:
        chat = ScriptedChat(messages=iter([AIMessage("Done."), AIMessage("Done.")]))
        agent = create_agent(
            chat, [], middleware=[CPRSMessagesMiddleware(compressor=words, min_tokens=20)], checkpointer=InMemorySaver()
        )
        config = {"configurable": {"thread_id": "1"}}
        (message, _) = run(agent, LONG * 9, asynchronous, config)
        assert message.response_metadata == {"cprs": {"whole": NO_QUESTION}}
        assert run(agent, "Who?", asynchronous, config)[0] == message and not words.calls

    @both
    def test_a_failure_lets_the_original_through_or_raises(self, asynchronous: bool) -> None:
        text = f"{LONG * 9}\n\nWho?"
        agent = self.agent(Failing(), ScriptedChat(messages=iter([AIMessage("Done.")])))
        message, _ = run(agent, text, asynchronous)
        assert message.content == text and message.response_metadata["cprs"]["error"].startswith("RuntimeError: ")
        with pytest.raises(RuntimeError):
            run(self.agent(Failing(), ScriptedChat(messages=iter([])), on_error="raise"), text, asynchronous)

    @both
    def test_beside_the_other_middleware(self, words: WordCompressor, asynchronous: bool) -> None:
        store = InMemoryStore()
        options = {"compressor": words, "min_tokens": 20, "store": store}
        chat = ScriptedChat(messages=iter([calls("search"), AIMessage("Done.")]))
        pair = [CPRSToolOutputMiddleware(**options), CPRSMessagesMiddleware(**options)]
        messages = run(create_agent(chat, [search], middleware=pair), f"{LONG * 9}\n\nWho?", asynchronous)
        assert [call["query"] for call in words.calls] == ["Who?", "Who?\nleases"]
        for message in (messages[0], messages[2]):
            assert message.response_metadata["cprs"]["reference"] in message.content
        assert len(store.search(("cprs",))) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"max_token": 5},
        {"min_tokens": 0},
        {"max_tokens": 5, "ratio": 0.5},
        {"on_error": "ignore"},
        {"store": 3},
        {"compressor": WordCompressor(), "model": "other"},
        {"exclude_tools": "search"},
    ],
)
def test_bad_options_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, InputError)):
        CPRSToolOutputMiddleware(**options)


def test_a_compressor_that_counts_no_tokens_is_refused() -> None:
    with pytest.raises(ValidationError, match="must have count_tokens"):
        CPRSMessagesMiddleware(compressor=FakeCompressor())


def test_importing_needs_neither_langchain_nor_torch() -> None:
    code = "import sys; sys.modules['langchain'] = None; import langchain_cprs as p; p.CPRSDocumentCompressor(); "
    code += "assert 'torch' not in sys.modules and 'langgraph' not in sys.modules; p.CPRSToolOutputMiddleware"
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "pip install 'cprs-core[langchain-agents]'" in result.stderr
    code = "import sys; from langchain_cprs import CPRSToolOutputMiddleware as m; m(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
