"""The proxy as clients and providers see it."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging

import httpx
import pytest
from fastapi import Response
from words import KEPT, LONG, Failing

from cprs_core.proxy.app import create_proxy
from cprs_core.proxy.settings import Settings

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
BODY = {
    "model": "m",
    "messages": [{"role": "user", "content": "Who?"}, {"role": "tool", "tool_call_id": "1", "content": LONG}],
}
SHORT = {"model": "m", "messages": [{"role": "user", "content": "Who?"}]}


def status(answer):
    return answer.headers["x-cprs-status"]


async def test_recent_messages_may_stay_whole(client, provider):
    async with client(keep_recent=1) as http:
        await http.post(CHAT, json=BODY)
        assert provider.messages == BODY["messages"]
        await http.post(CHAT, json={**BODY, "messages": [*BODY["messages"], {"role": "user", "content": "So?"}]})
        assert provider.messages[1]["content"] == KEPT


async def test_long_messages_are_compressed_and_counted(client, provider):
    async with client() as http:
        answer = await http.post(CHAT, json=BODY)
        again = await http.post(CHAT, json=BODY)
    assert provider.messages == [BODY["messages"][0], {"role": "tool", "tool_call_id": "1", "content": KEPT}]
    assert answer.status_code == 200 and answer.json()["choices"]
    words = len(LONG.split())
    for one, expected in ((answer, "compressed"), (again, "cached")):
        assert [one.headers[f"x-cprs-{name}"] for name in ("status", "messages", "input-tokens", "kept-tokens")] == [
            *(expected, "1", str(words), "4")
        ]
        assert float(one.headers["x-cprs-milliseconds"]) >= 0


async def test_anthropic(client, provider):
    result = {"type": "tool_result", "tool_use_id": "1", "content": LONG}
    body = {"model": "m", "max_tokens": 9, "system": LONG, "messages": [{"role": "user", "content": "Who?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"x": LONG}}]},
            {"role": "user", "content": [result]}]}  # fmt: skip
    async with client() as http:
        answer = await http.post(MESSAGES + "?beta=true", json=body)
    assert status(answer) == "compressed"
    sent = json.loads(provider.bodies[-1])
    assert sent == body | {"messages": [*body["messages"][:2], {"role": "user", "content": [{**result, "content": KEPT}]}]}
    assert provider.urls == [MESSAGES + "?beta=true"]


async def test_short_requests_pass_byte_for_byte(client, provider):
    raw = json.dumps(SHORT, indent=3).encode() + b"\n"
    async with client() as http:
        answer = await http.post(CHAT, content=raw)
    assert provider.bodies == [raw] and status(answer) == "off" and answer.headers["x-cprs-messages"] == "0"


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"X-Cprs": "off"}, {}),
        ({}, {"cprs": False}),
        ({}, {"cprs": {"enabled": False}}),
        ({"X-Cprs": "OFF"}, {"cprs": True}),
    ],
)
async def test_it_can_be_turned_off(client, provider, headers, field):
    async with client() as http:
        answer = await http.post(CHAT, json=BODY | field, headers=headers)
    assert json.loads(provider.bodies[-1]) == BODY and status(answer) == "off"
    assert not [name for name, _ in provider.headers[-1] if name == b"x-cprs"]


async def test_it_can_be_tuned(client, provider, compressor):
    async with client(max_body=10_000) as http:
        await http.post(CHAT, json=BODY | {"cprs": {"ratio": 0.25}})
    assert compressor.calls[-1]["ratio"] == 0.25 and "cprs" not in json.loads(provider.bodies[-1])


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize(
    ("content", "headers", "code", "says"),
    [
        (b"{", {}, 400, "not JSON"),
        (b"\xff\xfe\xfd", {}, 400, "not JSON"),
        (b"", {}, 400, "not JSON"),
        (b"[" * 9_000, {}, 400, "not JSON"),
        (b"[1]", {}, 400, "a JSON object, not list"),
        (b'{"cprs": 3}', {}, 400, '"cprs" must be'),
        (b'{"cprs": {"ratio": 7}}', {}, 400, "ratio must be a number over 0 and up to 1"),
        (b'{"cprs": {"enabled": "no"}}', {}, 400, '"enabled"'),
        (b"{}", {"X-Cprs": "maybe"}, 400, "must be on or off"),
        (b'{"a": "' + b"x" * 10_000 + b'"}', {}, 413, "larger than the 10,000 bytes"),
    ],
)
async def test_what_cannot_be_read_is_refused_in_the_provider_s_words(client, provider, path, content, headers, code, says):
    async with client(max_body=10_000) as http:
        answer = await http.post(path, content=content, headers=headers)
    body = answer.json()
    assert answer.status_code == code and says in body["error"]["message"] and not provider.bodies
    assert body["error"]["type"] == {400: "invalid_request_error", 413: "request_too_large"}[code]
    assert body.get("type") == ("error" if path == MESSAGES else None)


@pytest.mark.parametrize("body", [{}, {"messages": 5}, {"messages": [5, None, {"role": ["user"], "content": {}}]}])
async def test_odd_requests_are_for_the_provider_to_judge(client, provider, body):
    async with client() as http:
        answer = await http.post(CHAT, json=body)
    assert json.loads(provider.bodies[-1]) == body and answer.status_code == 200


async def test_errors_of_the_provider_pass_unchanged(client, provider):
    content = b'{"error": {"message": "slow down", "type": "requests"} }'
    provider.answer = Response(content, 429, {"retry-after": "7", "x-request-id": "r"}, media_type="application/json")
    async with client() as http:
        answer = await http.post(CHAT, json=BODY)
    assert (answer.status_code, answer.content, answer.headers["retry-after"]) == (429, content, "7")
    assert answer.headers["x-request-id"] == "r" and status(answer) == "compressed"


async def test_compressed_bodies_pass_as_they_are(client, provider):
    packed = gzip.compress(json.dumps(BODY).encode())
    provider.answer = Response(packed, headers={"content-encoding": "gzip"})
    async with client() as http:
        answer = await http.post(CHAT, content=packed, headers={"Content-Encoding": "gzip"})
        async with http.stream("POST", CHAT, json=BODY) as streamed:
            raw = b"".join([chunk async for chunk in streamed.aiter_raw()])
    assert provider.bodies[0] == raw == packed and answer.json() == BODY and status(answer) == "off"


async def test_other_paths_pass_unchanged(client, provider):
    async with client() as http:
        answer = await http.post(
            "/v1/a%2Fb/%C3%A9?q=%20x&q=", content=b"\x00raw", headers={"X-Other": "1", "TE": "trailers"}
        )
        listed = await http.get("/v1/models", headers={"Connection": "close, X-Hop", "X-Hop": "1"})
    assert provider.urls == ["/v1/a%2Fb/%C3%A9?q=%20x&q=", "/v1/models"]
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (201, b"\x00raw", "odd/type")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"] and answer.headers["x-own"] == "1"
    assert "keep-alive" not in answer.headers and "x-cprs-status" not in answer.headers
    assert listed.content == b"nothing"
    names = [{name for name, _ in headers} for headers in provider.headers]
    assert b"x-other" in names[0] and b"te" not in names[0] and b"x-hop" not in names[1]


async def test_credentials_are_the_client_s_own_and_not_logged(client, provider, caplog):
    with caplog.at_level(logging.DEBUG):
        async with client() as http:
            await http.post(CHAT, json=BODY, headers={"Authorization": "Bearer secret", "x-api-key": "secret"})
    sent = dict(provider.headers[-1])
    assert (sent[b"authorization"], sent[b"x-api-key"]) == (b"Bearer secret", b"secret")
    assert "secret" not in caplog.text and "keep this" not in caplog.text


@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/v1/models"])
@pytest.mark.parametrize(("raised", "code"), [(httpx.ConnectError("no"), 502), (httpx.ReadTimeout("no"), 504)])
async def test_a_provider_that_cannot_be_reached(compressor, path, raised, code):
    def fail(request):
        raise raised

    proxy = create_proxy(compressor, Settings("http://gone.test"), transport=httpx.MockTransport(fail))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(proxy), base_url="http://proxy.test") as http:
        answer = await http.post(path, json=SHORT)
    assert answer.status_code == code and "http://gone.test" in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "api_error"


async def test_failing_compression(provider):
    transport = httpx.ASGITransport(provider.app)
    answers = []
    for on_error in ("pass", "fail"):
        proxy = create_proxy(Failing(), Settings("http://a.test", 20, on_error=on_error), transport=transport)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(proxy), base_url="http://proxy.test") as http:
            answers.append(await http.post(CHAT, json=BODY))
    assert [answer.status_code for answer in answers] == [200, 500] and [*map(status, answers)] == ["failed"] * 2
    assert len(provider.bodies) == 1 and json.loads(provider.bodies[0]) == BODY
    assert "keep this" not in answers[1].text


async def test_many_at_once(client, provider):
    def body(number):
        return {
            "messages": [
                {"role": "user", "content": f"Who {number}?"},
                {"role": "tool", "content": LONG + f"Keep {number}."},
            ]
        }

    async with client() as http:
        answers = await asyncio.gather(*(http.post(CHAT, json=body(number % 20)) for number in range(60)))
    assert {*map(status, answers)} <= {"compressed", "cached"} and len(provider.bodies) == 60
    assert all(len(raw) < 200 for raw in provider.bodies)
