"""compress_variable in chains."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agents import ScriptedChat
from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from pydantic import ValidationError
from words import KEPT, LONG, WordCompressor

from cprs_core import InputError
from langchain_cprs import compress_variable

both = pytest.mark.parametrize("asynchronous", [False, True])


@both
def test_between_a_dictionary_and_a_prompt(asynchronous: bool) -> None:
    words, chat = WordCompressor(), ScriptedChat(messages=iter([AIMessage("Ann.")]))
    prompt = ChatPromptTemplate.from_template("{context}\n{question}\n{language}")
    variables = {"context": lambda _: LONG, "question": RunnablePassthrough(), "language": lambda _: "English"}
    chain = variables | compress_variable("context", compressor=words, max_tokens=9) | prompt | chat
    answer = asyncio.run(chain.ainvoke("Who?")) if asynchronous else chain.invoke("Who?")
    assert answer.content == "Ann." and chat.sent[0][0].content == f"{KEPT}\nWho?\nEnglish"
    (call,) = words.calls
    assert (call["query"], call["max_tokens"], call.get("asynchronous", False)) == ("Who?", 9, asynchronous)


@both
def test_batches_stay_in_order_and_inputs_as_they_are(asynchronous: bool) -> None:
    step = compress_variable("text", query="asked", compressor=WordCompressor())
    given = [{"text": f"Not this. I keep {n}. Nor that.", "asked": f"{n}?", "n": n} for n in range(20)]
    results = asyncio.run(step.abatch(given)) if asynchronous else step.batch(given)
    assert results == [{"text": f"I keep {n}.", "asked": f"{n}?", "n": n} for n in range(20)]
    assert given[3]["text"] == "Not this. I keep 3. Nor that."


@both
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"question": "Who?"}, "no variable 'context', only 'question'"),
        ({"context": LONG}, "no variable 'question'"),
        ({"context": [Document("a")], "question": "Who?"}, "CPRSDocumentCompressor"),
        ({"context": LONG, "question": " "}, "query is empty"),
        ("Who?", "needs a dictionary"),
    ],
)
def test_what_is_missing_or_no_text_is_said(given: Any, says: str, asynchronous: bool) -> None:
    step = compress_variable("context", compressor=WordCompressor())
    with pytest.raises(InputError, match=says):
        asyncio.run(step.ainvoke(given)) if asynchronous else step.invoke(given)


def test_bad_options_are_refused_at_once() -> None:
    with pytest.raises(ValidationError):
        compress_variable("context", max_tokens=5, ratio=0.5)


def test_a_real_model_keeps_the_budget(tiny_options: dict[str, Any]) -> None:
    step = compress_variable("context", **tiny_options, ratio=0.3)
    text = "The licence ends in May. It was signed by Ann. The weather was fine. " * 5
    assert 0 < len(step.invoke({"context": text, "question": "When?"})["context"]) < len(text) / 2
