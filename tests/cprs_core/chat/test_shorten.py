"""The texts of one message, shortened."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from words import KEPT, LONG, Failing, WordCompressor

from cprs_core import ContextCompressor
from cprs_core.chat.memory import Sent
from cprs_core.chat.references import References
from cprs_core.chat.shorten import JSON, NO_GAIN, NO_QUESTION, NOTHING, Shortener


async def both(shortener: Shortener, texts: list[str], query: str = "Who?", **limits: Any) -> Sent:
    """The result of the synchronous and the asynchronous way, which must be the same."""
    sent = shortener.shorten(texts, query, limits)
    assert await shortener.ashorten(texts, query, limits) == sent
    return sent


def make(compressor: Any = None, **options: Any) -> Shortener:
    compressor = compressor or WordCompressor()
    return Shortener(lambda: compressor, 20, **options)


async def test_statistics_speak_of_the_original() -> None:
    texts = [LONG, "Nothing of this. " * 5, '{"a": "' + LONG + '"}', LONG, "Short."]
    sent = await both(make(), texts, max_tokens=9)
    assert sent.texts == (KEPT, NOTHING, texts[2], KEPT, "Short.")
    original = "\n\n".join(texts)
    assert [original[start:end] for start, end, *_ in sent.note["spans"]] == [KEPT, KEPT]
    assert [span[2:] for span in sent.note["spans"]] == [[0.9, "fact"]] * 2
    assert sent.note["original_length"] == len(original)
    assert (sent.note["input_tokens"], sent.note["kept_tokens"]) == (sent.input_tokens, sent.kept_tokens)
    assert (sent.note["model"], sent.note["query"]) == ("fake", "Who?")


@pytest.mark.parametrize(
    ("texts", "query", "note"),
    [
        (["Short."], "Who?", {}),
        (["word " * 19], "Who?", {}),
        ([LONG], " ", {"whole": NO_QUESTION}),
        (['["' + LONG + '"]'], "Who?", {"whole": JSON}),
        (["keep it. " * 20], "Who?", {"whole": NO_GAIN}),
    ],
)
async def test_what_stays_whole_says_why(
    texts: list[str], query: str, note: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert await both(make(), texts, query) == Sent(note=note)
    assert all(message == f"a long text stays whole: {note['whole']}" for message in caplog.messages)


async def test_what_must_stay_stays() -> None:
    text = f"{LONG}\n\nWho?"
    stays = {0: (len(LONG), len(text))}
    sent = make().shorten([text], "Who?", {}, stays)
    assert sent.texts == (f"{KEPT}\n\nWho?",)
    assert await make().ashorten([text], "Who?", {}, stays) == sent


async def test_originals_are_stored_and_named() -> None:
    store: dict[str, str] = {}
    shortener = make(references=References(store))
    sent = await both(shortener, [LONG, '{"a": 1}'])
    key = sent.note["reference"]
    assert store == {key: LONG + '\n\n{"a": 1}'}
    assert sent.texts == (KEPT + References.hint(key, sent.kept_tokens, sent.input_tokens), '{"a": 1}')
    text = f"{LONG}\n\nWho?"
    (short,) = shortener.shorten([text], "Who?", {}, {0: (len(LONG), len(text))}).texts
    assert short.startswith(KEPT + "\n[4 of ") and short.endswith(")]\n\nWho?")
    assert await both(shortener, ["a " * 19 + "a. I keep."]) == Sent(note={"whole": NO_GAIN})
    assert len(store) == 2


async def test_failures_let_the_original_through_and_say_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        sent = await both(make(Failing()), [LONG])
    assert not sent.texts and sent.note["error"].startswith("RuntimeError: cannot read")
    assert caplog.messages == ["compression failed: RuntimeError"] * 2
    for error in (make(Failing(), on_error="raise"), Shortener(lambda: 1 / 0, 20, "raise")):  # type: ignore[arg-type,return-value]
        with pytest.raises((RuntimeError, ZeroDivisionError)):
            error.shorten([LONG], "Who?", {})
        with pytest.raises((RuntimeError, ZeroDivisionError)):
            await error.ashorten([LONG], "Who?", {})


async def test_a_store_that_fails_is_a_failure() -> None:
    class Full(dict[str, str]):
        def __setitem__(self, key: str, value: str) -> None:
            raise OSError("the disk is full")

    assert await both(make(references=References(Full())), [LONG]) == Sent(note={"error": "OSError: the disk is full"})


async def test_who_watches_sees_work_begin_and_end() -> None:
    seen: list[Any] = []
    shortener = make(on_start=lambda *given: seen.append(given), on_end=seen.append)
    sent = await both(shortener, [LONG])
    assert seen == [("Who?", [LONG]), sent] * 2
    await both(shortener, ["Short."])
    assert len(seen) == 4


def test_a_real_compressor_says_the_same(compressor: ContextCompressor, prose: str) -> None:
    shortener = Shortener(lambda: compressor, 100)
    sent = shortener.shorten([prose], "Who owns the house?", {"max_tokens": 60})
    expected = compressor.compress(prose, "Who owns the house?", max_tokens=60)
    assert sent.texts == (expected.text,) and sent.kept_tokens == expected.kept_tokens <= 60
    assert [prose[start:end] for start, end, *_ in sent.note["spans"]] == [span.text for span in expected.spans]
    assert not shortener.is_long([prose[:60]]) and shortener.is_long([prose])
