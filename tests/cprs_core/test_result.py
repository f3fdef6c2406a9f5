"""What is returned: JSON, a diff that applies, escaped HTML, text that is never longer than its source."""

import html
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cprs_core.result import Compression, Span, html_page, join


def compression(source, ranges, tag="fact", query="q?"):
    spans = tuple(Span(a, b, source[a:b], 0.5, tag) for a, b in ranges)
    return Compression(source, spans, 40, 10, query, "Keep it.", "tiny", 0.25)


@st.composite
def sources(draw, odd_text):
    """A text and disjoint ranges of it that begin and end with what is not white space, as those of the compressor."""
    text = draw(odd_text)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=10, unique=True)))
    ranges = []
    for start, end in zip(cuts[::2], cuts[1::2], strict=False):
        piece = text[start:end].lstrip()
        if piece:
            ranges.append((end - len(piece), end - len(piece) + len(piece.rstrip())))
    return text, ranges


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


class _Text(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


EVIL = "<script>alert(1)</script> & \"><img src=x onerror=alert(2)> 'x"


@given(st.data())
@example(None)
def test_html_shows_the_text_and_nothing_of_it_is_markup(odd_text, data):
    text, ranges = data.draw(sources(odd_text)) if data else (EVIL, [(0, 17), (28, 40)])
    result = compression(text + EVIL, ranges, tag=EVIL, query=EVIL)
    parser = _Text()
    parser.feed(html_page([result], [EVIL]))
    assert {tag for tag, _ in parser.tags} <= {
        *"html head meta title style body main h2 div p b mark span details summary".split()
    }
    marks = [attributes for tag, attributes in parser.tags if tag == "mark"]
    assert len(marks) == len(ranges)
    assert all(set(attributes) == {"title", "style"} and attributes["title"] == f"{EVIL} 0.50" for attributes in marks)
    shown = "".join(parser.text)
    if not set(text) & set("\r\x00") and "<details" not in result.to_html():  # parsers of HTML replace these
        assert text + EVIL in shown
    body = result.to_html().split('overflow:auto">')[1].removesuffix("</div></div>")
    assert html.escape(text + EVIL) == re.sub(r"</?(?:mark|span|details)[^>]*>|<summary>.*?</summary>", "", body)


def test_long_stretches_of_html_fold_away_but_stay_there():
    text = "Word number. " * 400
    result = compression(text, [(2600, 2612)])
    page = result.to_html()
    assert page.count("<details") == 2 and "2,400 characters" in page
    assert html.escape(text) in re.sub(r"</?(?:mark|span|details)[^>]*>|<summary>.*?</summary>", "", page)
    assert compression(text, []).to_html().count("<details") == 1


def test_html_and_repr_of_a_notebook():
    result = compression("Keep this. Not that.", [(0, 10)])
    assert result._repr_html_() == result.to_html()
    assert "10 of 40 tokens" in result.to_html() and "25.0%" in result.to_html()
    assert repr(result) == "Compression(kept 10 of 40 tokens, 1 spans, text='Keep this.')"
    assert repr(compression("x" * 99, [(0, 99)])).endswith("'...)")


def test_a_page_needs_a_title_for_each_result():
    with pytest.raises(ValueError, match="zip"):
        html_page([compression("a", [])], [])
    assert "http" not in html_page([compression("a", [])], ["One"])
