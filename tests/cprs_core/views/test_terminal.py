"""The terminal's view: all that is kept, in colours or brackets, and nothing that a document could do to a terminal."""

import io
import re
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
from fakes import compression, sources
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cprs_core.views.stretches import stretches
from cprs_core.views.terminal import render, visible, write

CODES = re.compile(r"\x1b\[[\d;]*m")


@given(st.data())
def test_stretches_are_the_source(odd_text, data):
    text, ranges = data.draw(sources(odd_text))
    found = list(stretches(compression(text, ranges), 3))
    assert "".join(text[one.start : one.end] for one in found) == text
    assert all(one.start < one.end for one in found)
    assert [(one.start, one.end) for one in found if one.span] == ranges


def plain(result, width=4000):
    console = Console(file=io.StringIO(), width=width)
    write(result, console)
    return console.file.getvalue()


def test_without_colours_kept_spans_stand_in_brackets():
    text = "One two.\nThree four.\n" + "Filler words. " * 100 + "Five."
    shown = plain(compression(text, [(9, 20), (len(text) - 5, len(text))]))
    assert shown.startswith("q?\nkept 10 of 40 tokens (25.0%) in 2 spans\n\nOne two.\n[[Three four.]]\nFiller")
    assert re.search(r"words\.\n\[\.\.\. 1,\d{3} characters left out \.\.\.\]\n(Filler|words)", shown)
    assert shown.endswith("words. [[Five.]]\n") and "\x1b" not in shown


def test_colours_show_the_score(compressor, prose, monkeypatch):
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    # Colours of its own, since rich remembers how it wrote a style, even if that was for a terminal with fewer colours.
    monkeypatch.setattr("cprs_core.views.terminal._GROUNDS", tuple(f"#ee{shade:02x}77" for shade in range(5)))
    found = compressor.compress(prose, "When does the licence end?", ratio=1.0)
    likely = replace(found.candidates, scores=np.linspace(0, 1, len(found.candidates)))
    result = replace(found, candidates=likely)
    shown = render([result], ["a.txt"])
    assert len(set(re.findall(r"48;2;[\d;]+m", shown))) == 5 and "==>" not in shown
    for span in result.spans:
        assert "".join(visible(span.text).split()) in "".join(CODES.sub("", shown).split())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "48;" not in render([result], ["a.txt"]) and "\x1b[1m" in render([result], ["a.txt"])
    both = CODES.sub("", render([result, result], ["a.txt", "b\x1b[2J.txt"]))
    assert both.startswith("==> a.txt <==\n") and "\n==> b\\x1b[2J.txt <==\n" in both


def test_a_document_does_nothing_to_the_terminal():
    evil = "a\x1b[2J\x1b]0;title\x07b\x9bc\u202ed\rover [red]no markup[/red] :smile:\tend\r\n."
    shown = render([compression(evil, [(0, len(evil))], query=evil)], ["a"])
    rest = CODES.sub("", shown)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", rest)
    assert r"a\x1b[2J\x1b]0;title\x07b\x9bc\u202ed\x0dover [red]no markup[/red] :smile:" in rest


def test_show_prints_or_displays(capsys, monkeypatch):
    result = compression("Keep this. Not that.", [(0, 10)])
    result.show()
    assert "[[Keep this.]] Not that." in capsys.readouterr().out
    seen = []
    fake, display = ModuleType("IPython"), ModuleType("IPython.display")
    fake.get_ipython = lambda: SimpleNamespace(kernel=object())
    display.display = seen.append
    monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    result.show()
    assert seen == [result] and capsys.readouterr().out == ""
    fake.get_ipython = lambda: SimpleNamespace()  # IPython in a terminal
    result.show()
    assert len(seen) == 1 and "[[Keep this.]]" in capsys.readouterr().out
