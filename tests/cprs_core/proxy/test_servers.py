"""Over real connections: official clients, streams chunk by chunk, and clients that hang up."""

from __future__ import annotations

import anthropic
import httpx
import openai
import pytest
from words import KEPT, LONG

TOOL = {"role": "tool", "tool_call_id": "1", "content": LONG}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
MESSAGES = [
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": LONG},
]


def test_the_client_of_openai(servers, provider):
    client = openai.OpenAI(base_url=f"{servers}/v1", api_key="k", max_retries=0)
    answer = client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
    assert answer.parse().choices[0].message.content == "Yes."
    assert answer.headers["x-cprs-status"] == "compressed"
    assert provider.messages == [*MESSAGES[:2], {**MESSAGES[2], "content": KEPT}]
    chunks = client.chat.completions.create(model="m", messages=MESSAGES, stream=True, extra_body={"cprs": False})
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == "0 1 2 "
    assert provider.messages == MESSAGES


def test_the_client_of_anthropic(servers, provider):
    client = anthropic.Anthropic(base_url=servers, api_key="k", max_retries=0)
    question = {"type": "text", "text": "Who?"}
    content = [{"type": "text", "text": LONG * 8}, question]
    answer = client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": content}])
    assert answer.content[0].text == "Yes."
    assert provider.messages == [{"role": "user", "content": [{"type": "text", "text": " ".join([KEPT] * 8)}, question]}]


def test_streams_come_chunk_by_chunk_and_end_when_the_client_leaves(servers, provider):
    body = {"stream": True, "n": 10**6, "messages": MESSAGES}
    with httpx.stream("POST", f"{servers}/v1/chat/completions", json=body, timeout=10) as answer:
        chunks = answer.iter_raw()
        first = next(chunks)  # the provider waits after it
        assert b'"0 "' in first and b'"1 "' not in first
        assert not provider.stopped.is_set()
    assert provider.stopped.wait(5)


def test_a_stream_that_breaks_off_does_not_look_whole(servers):
    body = {"stream": True, "n": 2, "messages": MESSAGES}
    with httpx.stream("POST", f"{servers}/v1/chat/completions", json=body) as answer:
        chunks = answer.iter_raw()
        assert b'"0 "' in next(chunks)
        with pytest.raises(httpx.RemoteProtocolError):
            list(chunks)


def test_hanging_up_before_there_is_an_answer_reaches_the_provider(servers, provider):
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{servers}/v1/hang/chat/completions", json={"messages": MESSAGES}, timeout=httpx.Timeout(5, read=1))
    assert provider.arrived.is_set() and provider.stopped.wait(5)


def test_uploads_and_downloads_pass(servers, provider):
    chunks = [b"x" * 100_000] * 5
    answer = httpx.post(f"{servers}/v1/files", content=iter(chunks))
    assert answer.status_code == 201 and answer.content == b"".join(chunks)
    assert httpx.head(f"{servers}/v1/files").status_code in (200, 405)
