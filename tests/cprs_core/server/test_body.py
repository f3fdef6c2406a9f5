"""Bodies: what is refused before it is read, odd JSON, and how many values there may be."""

import json
import time

import pytest
from fakes import examples
from hypothesis import example, given
from hypothesis import strategies as st

from cprs_core import LimitError
from cprs_core.server.body import check_values

from .test_routes import problem

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/jsonp"},
        {"Content-Type": "application"},
        {**JSON, "Content-Encoding": "gzip"},
        {**JSON, "Content-Encoding": "gzip, br"},
    ],
)
def test_only_plain_json_is_read(http, headers):
    detail = problem(http.post("/v1/compress", content=b'{"text": "a", "query": "b"}', headers=headers), 415)
    assert "send it with" in detail


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"])
def test_json_has_several_names(http, kind):
    assert http.post("/v1/tokens", content=b'{"text": "a"}', headers={"Content-Type": kind}).status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 900 + b"]" * 900,
        b'{"text":' * 900 + b"1" + b"}" * 900,
        b'{"text": "a", "query": "b", "ratio": NaN}',
        b'{"text": "a", "query": "b", "threshold": -Infinity}',
        b'{"text": "a", "query": "b", "ratio": 1e999}',
        b'{"text": "a", "query": "b", "ratio": ' + b"9" * 400 + b"}",
        b'{"text": "a", "query": "b", "max_tokens": -' + b"9" * 4000 + b"}",
        b'{"text": "a", "query": "b", "max_tokens": ' + b"9" * 5000 + b"}",
        b'{"text": "\xff\xfe", "query": "b"}',
        b'{"text": "\xed\xa0\x80", "query": "b"}',  # a surrogate as UTF-8 must not have it
        b'{"text": "\\ud83d", "query": "b"}',
        b'{"text": "a", "query": "b", "instruction": {"prompt": "c", "tags": ["\\udead"]}}',
        b'{"text": "a\x00", "query": "b"}',
        b'{"text": "a", "query": "b"} {}',
        b'{"text": "a", "query": "b",}',
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
    ],
)
def test_odd_json_is_a_problem(http, content):
    reply = http.post("/v1/compress", content=content, headers=JSON)
    assert reply.status_code in (400, 422)
    problem(reply, reply.status_code)


def test_of_a_name_that_is_there_twice_the_last_counts(http):
    content = b'{"text": "a", "text": "Ann owns it.", "query": "b", "ratio": 1.0}'
    assert http.post("/v1/compress", content=content, headers=JSON).json()["results"][0]["text"] == "Ann owns it."


@pytest.mark.parametrize("value", [b"[],", b'"a",', b"1,", b'{"a":1},', b'"\\\\",', b"[[[[[[[[", b'"\\"",'])
def test_millions_of_values_are_refused_at_once(http, value):
    content = b'{"query": "b", "documents": [' + value * (8_000_000 // len(value)) + b'""]}'
    began = time.perf_counter()
    assert "values" in problem(http.post("/v1/compress", content=content, headers=JSON), 413, "limit-error")
    assert time.perf_counter() - began < 2


def test_text_that_looks_like_values_is_text(http):
    text = '[],{}:"\\' * 100_000
    reply = http.post("/v1/tokens", json={"text": text})
    assert reply.status_code == 200


def outside(body):
    """Marks outside of strings, and quotes of strings, one byte after the other."""
    marks = quotes = 0
    inside = escaped = False
    for byte in body.decode():
        if inside and not escaped and byte == "\\":
            escaped = True
            continue
        if byte == '"' and not escaped:
            inside = not inside
            quotes += 1
        marks += not inside and byte in "[]{},:"
        escaped = False
    return marks, quotes


_values = st.recursive(
    st.one_of(st.text('[]{},:"\\ab', max_size=12), st.integers(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.text('":,\\', max_size=4), inner, max_size=4)),
    max_leaves=30,
)


@given(value=_values, most=st.integers(1, 40))
@example(value="\\", most=1)
@example(value='\\"', most=1)
@examples(200)
def test_values_are_counted_as_one_by_one(value, most):
    body = json.dumps(value).encode()
    marks, quotes = outside(body)
    if marks > most or quotes > 2 * most:
        with pytest.raises(LimitError):
            check_values(body, most)
    else:
        check_values(body, most)
