"""What is returned: JSON, a diff that applies, text that is never longer than its source."""

import json
import re

from fakes import compression, sources
from hypothesis import given, settings
from hypothesis import strategies as st

from cprs_core.result import Compression, join


@settings(max_examples=200)
@given(st.data())
def test_join_is_never_longer_and_adds_only_separators(odd_text, data):
    text, ranges = data.draw(sources(odd_text))
    joined = join(text, ranges)
    assert len(joined) <= len(text)
    rest = joined
    for i, (start, end) in enumerate(ranges):
        if i and start > ranges[i - 1][1]:
            gap = text[ranges[i - 1][1] : start]
            assert rest[0] == ("\n" if set(gap) & set("\r\n") else " ")
            rest = rest[1:]
        assert rest.startswith(text[start:end])
        rest = rest[end - start :]
    assert rest == ""


def test_join_by_example():
    source = "One two. Three!\nFour five."
    assert join(source, [(0, 8), (9, 15)]) == "One two. Three!"
    assert join(source, [(0, 3), (16, 20)]) == "One\nFour"
    assert join(source, [(0, 3), (3, 7)]) == "One two"
    assert join(source, []) == ""


def sides(diff):
    head, lines = diff.split("\n")[:3], diff.split("\n")[3:-1]
    assert head[:2] == ["--- source", "+++ compressed"] and diff.endswith("\n")
    assert all(line[0] in " -+" for line in lines)
    old = [line[1:] for line in lines if line[0] in " -"]
    new = [line[1:] for line in lines if line[0] in " +"]
    a, b, c, d = map(int, re.fullmatch(r"@@ -(\d),(\d+) \+(\d),(\d+) @@", head[2]).groups())
    assert (a, b, c, d) == (1, len(old), min(len(new), 1), len(new))
    return "\n".join(old), "\n".join(new)


@settings(max_examples=300)
@given(st.data())
def test_the_diff_applies(odd_text, data):
    text, ranges = data.draw(sources(odd_text))
    result = compression(text, ranges)
    old, new = sides(result.diff())
    assert old == text
    assert "".join(new.split()) == "".join(result.text.split())


def test_the_diff_by_example():
    source = "Title\n\nKept whole.\nDropped.\nHalf of it. Gone.\n"
    result = compression(source, [(7, 18), (28, 39)])
    lines = result.diff().split("\n")[2:]
    assert lines == [
        "@@ -1,6 +1,4 @@",
        "-Title",
        " ",
        " Kept whole.",
        "-Dropped.",
        "-Half of it. Gone.",
        "+Half of it.",
        " ",
        "",
    ]


def test_to_dict_is_json_and_leaves_the_source_out():
    result = compression("Ä 😀 secret end", [(0, 3), (11, 14)])
    row = json.loads(json.dumps(result.to_dict()))
    assert row["text"] == result.text == "Ä 😀 end"
    assert row["spans"][1] == {"start": 11, "end": 14, "text": "end", "score": 0.5, "tag": "fact"}
    assert row["ratio"] == result.ratio == 0.25
    assert set(row) == {*"model query instruction input_tokens kept_tokens ratio seconds text spans".split()}
    assert "secret" not in json.dumps(row)


def test_the_ratio_of_nothing_is_zero():
    assert Compression("", (), 0, 0, "q", "i", "m", 0.0).ratio == 0.0


def test_repr_is_short_and_leaves_the_scores_out(compressor, prose):
    assert repr(compression("Keep this. Not that.", [(0, 10)])) == (
        "Compression(kept 10 of 40 tokens, 1 spans, text='Keep this.')"
    )
    assert repr(compression("x" * 99, [(0, 99)])).endswith("'...)")
    result = compressor.compress(prose, "Who?")
    assert result.candidates is not None and "candidates" not in result.to_dict()
    assert result == Compression(**{name: getattr(result, name) for name in list(vars(compression("a", [])))[:8]})
