"""Units of text: the rules one by one, then what holds for every string, then hostile sizes."""

import textwrap
import time

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from cprs_core.errors import InputError
from cprs_core.segments import Unit, segment, subdivide

UNITS: tuple[Unit, ...] = ("word", "sentence", "line", "paragraph")


def units(text: str, unit: Unit) -> list[str]:
    return [text[start:end] for start, end in segment(text, unit)]


# A "¦" marks each boundary; the text is the same without it.
SENTENCES = [
    "One.¦ Two!¦ Three?¦ Four…¦ Five",
    "It costs 3.5 or .5 or $1.50.¦ Cheap.",
    "See http://a.org/x.html?q=1.¦ Or me@site.org, then main.py.¦ Done.",
    "Mr. Smith met Dr. J. R. Doe of St. Louis.¦ They talked.",
    "Use fruit, e.g. Apples, i.e. Malus, cf. Fig. 3 and No. 5.¦ Eat.",
    "Nuts, etc. are sold, as Doe et al. (2019) say.¦ The end.",
    "Acme Inc. Chairman Bob left the U.S. Navy for Foo Ltd. Group.¦ He won.",
    "He lives in the U.S.¦ The flag is old.",
    "She got a Ph.D.¦ It took years.",
    "Born c. 1520 (d. 1580), pp. 3 and Op. 10 of Jan. 5.¦ Next.",
    "It rose in 1999.¦ The end came in World War II.¦ Nobody knew.",
    "A heading\n¦~~~~~~~~~\n\n¦First. ¦Second.\n\n¦~~~~\n¦x = 1. 2\n¦~~~~\n\n¦Third. ¦Fourth.",
    # logs, JSON, comma-separated values: a line is a unit, whatever stops are in it
    "2024-01-03 10:11:12,123 INFO Started. Listening on :80\n¦2024-01-03 10:11:13 ERROR Failed. Retry in 5 s\n¦Traceback:",
    "[12:00:01] WARN Disk full. Call Bob.\n¦INFO: Done. Bye.\n¦Jan  3 10:11:12 host sshd[1]: Accepted. Hello",
    '{"a": 1, "t": "Hi. You there"}\n¦{"a": 2, "t": "Ho"}',
    '{\n¦"note": "It broke. Fix it! Now.",\n¦"tags": ["Hi. There", "b"]\n¦}',
    'id,name,notes\n¦1,Bob,"Likes. Cheese"\n¦2,Ann,none. At all',
    '"Hello", he said.¦ Then he left.\n¦One, two. ¦Three,four in all.',
    "1. First thing.¦ 2. Second thing.¦ (a). Third.",
    "He said. then nothing.",
    "Buy it.¦ iPhone sells.",
    '"Stop!" he cried.¦ "Why?" asked Ann.¦ "No."¦ "Yes."',
    "Really?¦ yes",
    "Wait... what? ¦No... ¦Fine.",
    "(It ended.)¦ [So it did.]¦ “Did it?”¦ Yes.[1][2, 3]¦ Good.",
    "It works , he said .¦ Or not . . .¦ Who knows ?",
    "“She saw . ”¦ Then ' x .",
    "Tokens like this . ''¦ Then more.",
    "他来了。¦她走了！¦“真的吗？”¦是的。",
    "「行く。」¦「はい。」と言った。¦終わり｡¦次",
    "你好!¦我来了",
    "３．５は数。¦次",
    "यह एक वाक्य है।¦ यह दूसरा है।",
    "هل أنت هنا؟¦ نعم۔¦ شكرا",
    "No stop¦\n\nNext paragraph¦\r\n\r\nThird",
    "- milk.¦ Fresh.¦\n- eggs¦\n- bread",
    "Ann: hi¦\nBob: hello there¦\nAnn: bye",
    "| No. | Name. Full |¦\n|---|---|¦\n| 1 | A. B! C |",
    '{¦\n  "key": "value",¦\n  "other": 1¦\n}',
    "```¦\nprint('A. B! C')¦\n```¦\nProse.¦ More.",
    "2024-01-02 10:00:00 ERROR something failed in module number one¦\n2024-01-02 10:00:01 INFO it was restarted",
    "Title Of The Text¦\nA first line that is longer than forty characters, well.",
]


@pytest.mark.parametrize("marked", SENTENCES)
def test_sentences(marked: str) -> None:
    expected = [piece.strip() for piece in marked.split("¦")]
    assert units(marked.replace("¦", ""), "sentence") == expected


PROSE = (
    "The quick brown fox, seen by Mr. Hyde, jumped over the lazy dog, which had slept; nobody was surprised. "
    "Whether it would jump again (as it often did) was a question that the whole village discussed for days. "
    "I think not."
)


@pytest.mark.parametrize("width", [44, 60, 72, 100, 118])
@pytest.mark.parametrize("indent", ["", "    "])
def test_hard_wrapped_prose_reads_as_if_it_were_not_wrapped(width: int, indent: str) -> None:
    wrapped = textwrap.fill(PROSE, width, initial_indent=indent, subsequent_indent=indent)
    assert [" ".join(unit.split()) for unit in units(wrapped, "sentence")] == units(PROSE, "sentence")
    crlf = wrapped.replace("\n", "\r\n")
    assert [" ".join(unit.split()) for unit in units(crlf, "sentence")] == units(PROSE, "sentence")


def test_wrapped_list_items_stay_apart() -> None:
    items = ["- " + PROSE[:100], "- " + PROSE[104:200], "2. " + PROSE[:90]]
    wrapped = "\n".join(textwrap.fill(item, 60, subsequent_indent="  ") for item in items)
    assert [" ".join(unit.split()) for unit in units(wrapped, "sentence")] == items


@pytest.mark.parametrize(
    "text",
    [
        "Marketing: so we should put it on our nice whiteboard\nManager: this kind of looks like it is what you want",
        "def function(first, second, third, fourth):\n    return first + second\n",
        "value = compute(something, or_other, and_more)\nother = compute(value)",
        "one fish, two fish and some more that fit here\nred\nblue fish swim\nnew fish, old fish and some more of those",
        "name            size of it      date of purchase\nvery long one   12 and a half   the first of May",
        "\n".join(f"INFO root worker number {i:03} has begun to read its file" for i in range(9)),
    ],
)
def test_lines_that_are_not_prose_stay_lines(text: str) -> None:
    assert units(text, "sentence") == units(text, "line")


WORDS = {
    "Don't stop, (well-known) friend!": ["Don't", "stop", ",", "(", "well-known", ")", "friend", "!"],
    "3.5 and 1,000.50 at 10:30, or -4%": ["3.5", "and", "1,000.50", "at", "10:30", ",", "or", "-4%"],
    '{"key":"value"}': ["{", '"', "key", '"', ":", '"', "value", '"', "}"],
    "mail me@site.org.": ["mail", "me@site.org", "."],
    "(https://a.org/b_(c)?d=e&f=%20#g), www.x.com/.": [
        "(",
        "https://a.org/b_(c)?d=e&f=%20#g",
        ")",
        ",",
        "www.x.com/",
        ".",
    ],
    "../src/main.py C:\\Users\\me ~/x /etc": ["../src/main.py", "C:\\Users\\me", "~/x", "/etc"],
    "550e8400-e29b-41d4-a716-446655440000": ["550e8400-e29b-41d4-a716-446655440000"],
    "well...no -- yes—or": ["well", "...", "no", "--", "yes", "—", "or"],
    "snake_case AT&T $5 don’t": ["snake_case", "AT&T", "$5", "don’t"],
    "中文 字。日本スーパー": list("中文字。日本スーパー"),
    "ภาษา 한국어 말": ["ภ", "า", "ษ", "า", "한국어", "말"],
    "हिन्दी में क्षत्रिय।": ["हिन्दी", "में", "क्षत्रिय", "।"],
    "👩‍👩‍👧👍🏽🇩🇪🇫🇷x": ["👩‍👩‍👧", "👍🏽", "🇩🇪", "🇫🇷", "x"],
    "e\u0301te\u0301 1\ufe0f\u20e3!\u0301": ["e\u0301te\u0301", "1\ufe0f\u20e3", "!\u0301"],
    "看http://x.com/a看": ["看", "http://x.com/a", "看"],
}


@pytest.mark.parametrize("text", WORDS)
def test_words(text: str) -> None:
    assert units(text, "word") == WORDS[text]


def test_lines_and_paragraphs() -> None:
    assert units("a\r\n b \rc\n\nd\u2028e\u2029f", "line") == list("abcdef")
    assert units("\n a\nb \n \t\n\r\nc\r\n\r\nd\u2029e\u2028f\n", "paragraph") == ["a\nb", "c", "d", "e\u2028f"]


def test_unknown_unit() -> None:
    with pytest.raises(InputError, match="word, sentence, line, paragraph"):
        segment("text", "chapter")  # type: ignore[arg-type]


def test_nothing_in_nothing_out() -> None:
    for unit in UNITS:
        for text in ("", " \n\t\r\n "):
            assert segment(text, unit).shape == (0, 2)
            assert segment(text, unit).dtype == "int64"


PIECES = [
    *"aZéßñ1٣.,!?…:;'\"’“”()[]{}<>|*_-–—/\\@#$%&=+~^` \t\n\r\v\f\x1c\x1f\x85\xa0\u1680\u2028\u2029\u3000\ufeff\x00",
    *"中あア한ภา。！？」क्षि्।؟\u0301\u200d\ufe0f\u20e3\u0600\u0d4e\u1100\u1161\u11a8🇩🇪👩👍🏽ℹ©",
    *("http://", "www.", "e.g.", "Mr. ", " The ", "\r\n", "\n\n", "```", "- ", "1. ", "A: ", "some more words here "),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=60)


@given(TEXTS)
@example("ൎ .")
@example("\u0600 \u0301")
@example(" \u0301a")
def test_units_hold_every_visible_character_once(text: str) -> None:
    for unit in UNITS:
        spans = segment(text, unit).tolist()
        assert segment(text, unit, concurrent=True).tolist() == spans
        end = 0
        for start, stop in spans:
            assert not text[end:start].strip(), "what lies between units is white space"
            assert start < stop
            assert text[start:stop] == text[start:stop].strip()
            end = stop
        assert not text[end:].strip()


@given(TEXTS)
@example("http://aൎ.")
@example("क्\u200dक")
@example("a..\u094dक🇩🇪\u094dक")
def test_words_never_split_a_grapheme_cluster(text: str) -> None:
    clusters = list(regex.finditer(r"\X", text))
    inside = {i for match in clusters if not regex.search(r"\s|[\x1c-\x1f]", match[0]) for i in range(*match.span())}
    inside -= {match.start() for match in clusters}
    assert not inside & set(segment(text, "word").ravel().tolist())


@given(TEXTS)
def test_smaller_units_nest_in_larger_ones(text: str) -> None:
    cuts = {unit: {i for span in segment(text, unit).tolist() for i in span} for unit in UNITS}
    assert cuts["paragraph"] <= cuts["line"]
    assert cuts["paragraph"] <= cuts["sentence"]


@given(TEXTS)
def test_lines_are_those_of_splitlines(text: str) -> None:
    assert units(text, "line") == [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "piece",
    [
        *"a.\n \"'!/中$,|",
        ". ",
        ".\n",
        "a\n",
        '."',
        "A. ",
        "http://",
        "www.",
        "-a",
        "\u0301",
        "🇩",
        "\u200d",
        "[1]",
        "``` \n",
    ],
)
def test_time_is_linear(piece: str, unit: Unit) -> None:
    text = piece * (100_000 // len(piece)) + "a"
    begun = time.process_time()
    segment(text, unit)
    assert time.process_time() - begun < 1.5  # about 0.1 s; quadratic would take minutes


def test_a_plural_in_brackets_is_no_function_call() -> None:
    text = (
        "Subject to the terms and conditions of this License, each Contributor hereby\n"
        "grants a license to those claims that are necessarily infringed by their\n"
        "Contribution(s) alone or by combination of their Contribution(s)\n"
        "with the Work to which such Contribution(s) was submitted by the licensor."
    )
    assert len(segment(text, "sentence")) == 1


def test_subdivided_units_keep_every_character_in_order() -> None:
    text = "One, two; three: four\nfive,six. Seven 中文，好。"
    units = segment(text, "sentence")
    for smaller in ("clause", "word"):
        parts = subdivide(text, units, smaller)
        assert "".join(text[a:b] for a, b in parts).replace(" ", "") == "".join(text.split())
        assert (parts[1:, 0] >= parts[:-1, 1]).all() and (parts[:, 1] > parts[:, 0]).all()
    assert [text[a:b] for a, b in subdivide(text, units[:1], "clause")] == ["One,", "two;", "three:", "four", "five,six."][
        :4
    ]
    assert len(subdivide(text, units[:0], "word")) == 0
