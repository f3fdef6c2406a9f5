"""The clients and the adapters against a service: the results of a compressor, its errors, and trying again."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fakes import slowed, until

from cprs_core import (
    AsyncCprsClient,
    AuthError,
    BudgetError,
    BusyError,
    CprsClient,
    DeadlineError,
    InputError,
    Instruction,
    InstructionError,
    LimitError,
    ServiceError,
    client,
)
from cprs_core.server.auth import Keys

from .conftest import living

QUERY = "When does the licence end?"
KEY = "k" * 24


@pytest.fixture(scope="module")
def remote(live):
    with CprsClient(live.url) as remote:
        yield remote


def same(found, alone):
    assert found.source == alone.source and found.text == alone.text
    assert (found.query, found.instruction, found.model) == (alone.query, alone.instruction, alone.model)
    assert (found.input_tokens, found.kept_tokens, found.ratio) == (alone.input_tokens, alone.kept_tokens, alone.ratio)
    assert [(s.start, s.end, s.text, s.tag) for s in found.spans] == [(s.start, s.end, s.text, s.tag) for s in alone.spans]
    assert [s.score for s in found.spans] == pytest.approx([s.score for s in alone.spans], abs=1e-4)


@pytest.mark.parametrize("instruction", [None, "Keep the numbers.", Instruction.answer()])
@pytest.mark.parametrize("limits", [{}, {"max_tokens": 25}, {"ratio": 0.3, "threshold": 0.1}])
def test_compress(remote, compressor, prose, instruction, limits):
    same(remote.compress(prose, QUERY, instruction, **limits), compressor.compress(prose, QUERY, instruction, **limits))


def test_documents_batch_tokens_and_name(remote, compressor, prose):
    texts = [prose[:300], "", prose[300:]]
    for found, alone in zip(
        remote.compress_documents(texts, QUERY, max_tokens=30),
        compressor.compress_documents(texts, QUERY, max_tokens=30),
        strict=True,
    ):
        same(found, alone)
    pairs = [(text, f"{QUERY} {i}") for i, text in enumerate(texts)]
    for found, alone in zip(remote.compress_batch(pairs), compressor.compress_batch(pairs), strict=True):
        same(found, alone)
    assert remote.compress_documents([], QUERY) == []
    assert remote.count_tokens(prose) == compressor.count_tokens(prose)
    assert remote.model_name == compressor.model_name


def test_streams(remote, compressor, prose):
    assert list(remote.stream(prose, QUERY)) == list(compressor.stream(prose, QUERY))
    assert list(remote.stream(prose, QUERY, threshold=1.0)) == list(compressor.stream(prose, QUERY, threshold=1.0))


async def test_the_asynchronous_twins(live, remote, compressor, prose):
    alone = compressor.compress(prose, QUERY, ratio=0.3)
    same(await remote.acompress(prose, QUERY, ratio=0.3), alone)
    same((await remote.acompress_documents([prose], QUERY, ratio=0.3))[0], alone)
    same((await remote.acompress_batch([(prose, QUERY)], ratio=0.3))[0], alone)
    spans = [span async for span in remote.astream(prose, QUERY)]
    async with AsyncCprsClient(live.url) as twin:
        results = await asyncio.gather(*(twin.compress(prose, QUERY, ratio=0.3) for _ in range(8)))
        for result in results:
            same(result, alone)
        same((await twin.compress_batch([(prose, QUERY)], ratio=0.3))[0], alone)
        assert [span async for span in twin.stream(prose, QUERY)] == spans
        assert await twin.count_tokens(prose) == compressor.count_tokens(prose)
        assert await twin.model_name() == compressor.model_name
        with pytest.raises(BudgetError):
            await twin.compress(prose, QUERY, max_tokens=0)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda c: c.compress("a", QUERY, max_tokens=0), BudgetError),
        (lambda c: c.compress("a", QUERY, max_tokens=1, ratio=0.5), BudgetError),
        (lambda c: c.compress("a", " "), InputError),
        (lambda c: c.compress(5, QUERY), InputError),
        (lambda c: c.compress("\ud800", QUERY), InputError),
        (lambda c: c.compress_documents("abc", QUERY), InputError),
        (lambda c: c.compress_batch([("a",)]), InputError),
        (lambda c: c.compress("a", QUERY, Instruction("Find.", ("outside",))), InstructionError),  # by the tokenizer
        (lambda c: c.compress("a", "long " * 300), InputError),
        (lambda c: next(c.stream("a", "long " * 300)), InputError),
    ],
)
def test_errors_are_those_of_a_compressor(remote, compressor, call, error):
    for one in (remote, compressor):
        with pytest.raises(error) as caught:
            call(one)
        assert type(caught.value) is error


def test_errors_of_a_service(compressor, prose):
    slow, brake = slowed(compressor)
    with living(slow, keys=Keys([KEY]), max_in_flight=1, max_documents=2, deadline=30) as server:
        with pytest.raises(AuthError, match=r"API key.*\(request \w+\)"):
            CprsClient(server.url).compress("a", QUERY)
        with CprsClient(server.url, api_key=KEY, retries=0) as remote:
            with pytest.raises(LimitError, match="2 documents"):
                remote.compress_documents(["a"] * 3, QUERY)
            brake.free.clear()
            with ThreadPoolExecutor(1) as pool:
                working = pool.submit(remote.compress, prose[:99], QUERY)
                until(lambda: server.service._tickets)
                with pytest.raises(BusyError):
                    remote.compress("a", QUERY)
                patient = CprsClient(server.url, api_key=KEY)
                waiting = ThreadPoolExecutor(1).submit(patient.compress, prose[:99], QUERY)
                brake.free.set()
                assert waiting.result(10).text == working.result(10).text
            brake.seconds = 0.2
            with pytest.raises(DeadlineError):
                CprsClient(server.url, api_key=KEY, timeout=0.3, retries=0).compress(prose * 3, QUERY)
    with pytest.raises(ServiceError, match="cprs serve"):
        CprsClient(server.url, retries=0).compress("a", QUERY)


def test_the_key_may_come_from_the_environment(compressor, monkeypatch):
    monkeypatch.setenv("CPRS_API_KEY", KEY)
    with living(compressor, keys=Keys([KEY])) as server:
        assert CprsClient(server.url).compress("Ann owns it.", QUERY)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "localhost:80"},
        {"url": 5},
        {"url": "http://a", "timeout": 0},
        {"url": "http://a", "retries": -1},
        {"url": "http://a", "api_key": "é"},
    ],
)
def test_options_of_a_client(wrong):
    with pytest.raises(InputError):
        CprsClient(**wrong)


class Replies:
    """A transport that fails as told, then answers; notes the pauses between."""

    def __init__(self, monkeypatch, replies):
        self.replies, self.requests, self.pauses = list(replies), 0, []
        monkeypatch.setattr(client.time, "sleep", self.pauses.append)

    def __call__(self, request):
        self.requests += 1
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        status, headers, body = reply
        return httpx.Response(status, headers=headers, content=json.dumps(body))

    def client(self, **options):
        remote = CprsClient("http://service", **options)
        remote._http = httpx.Client(transport=httpx.MockTransport(self), base_url="http://service")
        return remote


FINE = (200, {}, {"model": "m", "tokens": 3})


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass_is_tried_again(monkeypatch, status):
    replies = Replies(monkeypatch, [(status, {}, {}), (status, {"Retry-After": "7"}, {}), FINE])
    assert replies.client().count_tokens("a") == 3
    first, second = replies.pauses
    assert 0.1 < first < 0.4 and second == 7


@pytest.mark.parametrize("error", [httpx.ConnectError("no"), httpx.ReadError("no"), httpx.RemoteProtocolError("no")])
def test_lost_connections_are_tried_again(monkeypatch, error):
    replies = Replies(monkeypatch, [error, error, error, error, FINE])
    assert replies.client().count_tokens("a") == 3
    assert len(replies.pauses) == 4 and replies.pauses[3] > replies.pauses[0]
    replies = Replies(monkeypatch, [error] * 3)
    with pytest.raises(ServiceError, match="cannot reach http://service"):
        replies.client(retries=2).count_tokens("a")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((422, {}, {"type": "urn:cprs:budget-error", "detail": "d", "request_id": "r"}), BudgetError),
        ((422, {}, {"type": "urn:cprs:missing-extra-error", "detail": "d", "request_id": "r"}), InputError),
        ((500, {}, {"type": "about:blank", "detail": "d", "request_id": "r"}), ServiceError),
        ((504, {}, {"type": "urn:cprs:deadline-error", "detail": "d", "request_id": "r"}), DeadlineError),
        ((401, {}, "?"), AuthError),
        ((413, {}, []), LimitError),
        ((404, {}, None), ServiceError),
        (httpx.ReadTimeout("late"), DeadlineError),
    ],
)
def test_what_stays_wrong_is_not_tried_again(monkeypatch, reply, error):
    replies = Replies(monkeypatch, [reply])
    with pytest.raises(error) as caught:
        replies.client().count_tokens("a")
    assert type(caught.value) is error and replies.requests == 1


def test_a_page_that_is_no_service(monkeypatch):
    client_ = Replies(monkeypatch, []).client()
    client_._http = httpx.Client(
        transport=httpx.MockTransport(lambda request: httpx.Response(200, content=b"<html>")), base_url="http://service"
    )
    with pytest.raises(ServiceError, match="not JSON"):
        client_.count_tokens("a")
    with pytest.raises(ServiceError, match="broke off"):
        list(client_.stream("a", QUERY))


def test_langchain(live, compressor, prose):
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document
    from pydantic import ValidationError

    from langchain_cprs import CPRSDocumentCompressor

    documents = [Document(page_content=prose[:300]), Document(page_content=prose[300:])]
    found = CPRSDocumentCompressor(url=live.url, max_tokens=30).compress_documents(documents, QUERY)
    alone = CPRSDocumentCompressor(compressor=compressor, max_tokens=30).compress_documents(documents, QUERY)
    assert [one.page_content for one in found] == [one.page_content for one in alone] != []
    assert found[0].metadata["cprs"]["model"] == compressor.model_name
    with pytest.raises(ValidationError, match="leave url out"):
        CPRSDocumentCompressor(url=live.url, device="cpu")
    assert "secret" not in repr(CPRSDocumentCompressor(url=live.url, api_key="secret"))
    assert "secret" not in json.dumps(CPRSDocumentCompressor(url=live.url, api_key="secret").to_json(), default=str)


async def test_llamaindex(live, compressor, prose):
    pytest.importorskip("llama_index.core")
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    from llamaindex_cprs import CPRSNodePostprocessor

    nodes = [NodeWithScore(node=TextNode(text=prose), score=0.5)]
    remote = CPRSNodePostprocessor(url=live.url, ratio=0.2)
    (found,) = await remote.apostprocess_nodes(nodes, QueryBundle(QUERY))
    assert found.node.text == compressor.compress(prose, QUERY, ratio=0.2).text
    assert CPRSNodePostprocessor.from_dict(remote.to_dict()).url == live.url
    assert "secret" not in str(CPRSNodePostprocessor(url=live.url, api_key="secret").to_dict())


async def test_agents(live, compressor, prose):
    pytest.importorskip("llama_index.core")
    from langchain_cprs import CPRSCompressContextTool
    from llamaindex_cprs import CPRSMemory, compress_tool

    def search(topic: str) -> str:
        """Searches."""
        return prose

    expected = compressor.compress(prose, QUERY, max_tokens=60).text
    tool = compress_tool(search, query=QUERY, url=live.url, min_tokens=100, max_tokens=60)
    assert (await tool.acall(topic="a")).content == expected
    assert (await asyncio.to_thread(tool.call, topic="a")).content == expected
    asked = {"text": prose, "question": QUERY, "max_tokens": 60}
    assert await CPRSCompressContextTool(url=live.url).ainvoke(asked) == expected
    assert "secret" not in str(CPRSMemory(url=live.url, api_key="secret").to_dict())
