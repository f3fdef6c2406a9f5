"""The load test of a service: what it sends, what it accepts, and a short run."""

import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import serve
import typer
from typer.testing import CliRunner

from cprs_core import Compression, CprsError, Span

TINY = str(Path(__file__).parents[1] / "data" / "tiny-checkpoint")


def reply(sent, start, end):
    span = Span(start, end, sent[start:end], 0.9, "fact")
    return Compression(sent, (span,), 9, 9, serve.QUERY, "", "fake", 0.0)


def test_texts_have_their_length_and_a_number_of_their_own_in_every_sentence():
    rng = random.Random(0)
    texts = [serve.text(words, rng) for words in (40, 400, 4000, 40)]
    assert [len(one.split()) for one in texts] == pytest.approx([40, 400, 4000, 40], abs=15)
    numbers = [one.split("locker ")[1].split(".")[0] for one in texts]
    assert len(set(numbers)) == 4
    for one, number in zip(texts, numbers, strict=True):
        assert all(number in sentence for sentence in one.strip(" .").split(". "))


def test_a_reply_must_be_of_its_own_request():
    rng = random.Random(0)
    mine, other = serve.text(40, rng), serve.text(40, rng)
    place = mine.index("The blue coat")
    right = reply(mine, place, mine.index(". ", place) + 1)
    serve.checked(SimpleNamespace(compress=lambda *_, **__: right), mine)
    for wrong in (reply(mine, 0, 10), reply(mine, 0, 0), reply(other, 0, len(other))):
        with pytest.raises(CprsError, match="not that of its request"):
            serve.checked(SimpleNamespace(compress=lambda *_, wrong=wrong, **__: wrong), mine)


def test_percentiles():
    values = [float(n) for n in range(100)]
    assert serve.percentile(values, 50) == 50 and serve.percentile(values, 99) == 99 and serve.percentile([3.0], 99) == 3


def test_a_short_run():
    app = typer.Typer()
    app.command()(serve.main)
    sizes = "--requests 4 --long 300 --clients 4 --long-clients 1 --seconds 2 --longest 500".split()
    result = CliRunner().invoke(app, [*sizes, "--kill-every", "0.5", "--model", TINY, "--window-size", "512"])
    assert result.exit_code == 0, result.output
    for part in (
        "4 requests of",
        "/health: median",
        "replies, each of its own request",
        "  40 words:",
        "  500 words:",
        "afterwards nothing is left to do; answers by status (499 = hung up): {'200'",
        "tiny-checkpoint on cpu",
    ):
        assert part in result.output
