"""What must hold for any text and any request, for some of them; that a breach is seen; and the command."""

from concurrent.futures import ThreadPoolExecutor
from random import Random

import fuzz
import fuzz_texts
import pytest
import typer
from fakes import examples
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cprs_core import Compression, InputError, Span


@pytest.mark.parametrize("kind", fuzz.KINDS)
@examples(150)
@given(rng=st.randoms(use_true_random=False))
def test_it_holds(kind, rng):
    draw, holds = fuzz.KINDS[kind]
    holds(draw(rng))


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_it_holds_for_cases_of_the_script(kind):
    assert fuzz.fuzz(kind, 300, 7) == []


def test_most_cases_are_sound():
    cases = [fuzz_texts.text_case(Random(seed)) for seed in range(200)]
    results = [
        fuzz_texts.compressor().compress_documents(case.texts, "Who?") for case in cases if "\ud800" not in case.texts[-1]
    ]
    assert sum(len(one.spans) for some in results for one in some) > 500


@pytest.mark.parametrize(
    "spans", [[(0, 3, "Ann")], [(0, 0, "")], [(1, 4, "Bob")], [(4, 8, "owns"), (0, 3, "Bob")], [(8, 12, " it.")]]
)
def test_spans_that_are_not_of_the_text_are_seen(spans):
    with pytest.raises(AssertionError):
        fuzz_texts.verbatim("Bob owns it", [Span(*span, 0.9, "fact") for span in spans])


def test_a_budget_that_is_exceeded_is_seen():
    result = Compression("a b c", (), 3, 2, "q", "", "fake", 0.0)
    fuzz_texts.within_budget([result], {"max_tokens": 2, "ratio": 0.7})
    for limits in ({"max_tokens": 1}, {"ratio": 0.6}):
        with pytest.raises(AssertionError):
            fuzz_texts.within_budget([result], limits)


def run(*arguments):
    app = typer.Typer()
    app.command()(fuzz.main)
    return CliRunner().invoke(app, arguments)


def test_the_command(monkeypatch):
    monkeypatch.setattr(fuzz, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    done = run("--cases", "20", "--seed", "3")
    assert done.exit_code == 0 and "20 cases, 0 failures" in done.output and "seed 3" in done.output

    def broken(case):
        raise ZeroDivisionError("no more")

    monkeypatch.setitem(fuzz.KINDS, "texts", (fuzz_texts.text_case, broken))
    done = run("--cases", "20")
    assert done.exit_code == 1 and "20 cases, 10 failures" in done.output
    assert "texts, random.Random(0): ZeroDivisionError in broken" in done.output


def test_errors_on_purpose_are_right(monkeypatch):
    def refuse(*_, **__):
        raise InputError("no")

    monkeypatch.setattr(fuzz_texts, "compressor", lambda: type("Refuses", (), dict.fromkeys(("compress",), refuse))())
    fuzz_texts.text_holds(fuzz_texts.TextCase("compress", ["a"], "b", None, {}))
