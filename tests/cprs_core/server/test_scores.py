"""``/v1/scores``: the candidates of a text with their scores, whole and as events."""

import json

import numpy as np
import pytest
from fakes import slowed

from cprs_core import BudgetError, ContextCompressor, Instruction
from cprs_core.selection import cuts, select
from cprs_core.server.playground import FOLDER

from .test_routes import problem

QUERY = "When does the licence end?"
COLUMNS = ("starts", "ends", "scores", "tags", "tokens")


@pytest.mark.parametrize("preset", ["sentences", "answer", "paragraphs", "code"])
@pytest.mark.parametrize("threshold", [None, 0.3])
def test_it_gives_what_a_compression_chooses_from(http, compressor, prose, preset, threshold):
    asked = {"text": prose, "query": QUERY, "preset": preset, "threshold": threshold, "cuts": True}
    body = http.post("/v1/scores", json=asked).json()
    instruction = Instruction.preset(preset)
    found = compressor.candidates(prose, QUERY, instruction, threshold=threshold)
    for name, pieces in zip(("candidates", "clauses", "words"), (found.candidates, *cuts(found)), strict=True):
        columns = COLUMNS + (("kept", "whole") if name == "candidates" else ())
        assert body[name] == {column: getattr(pieces, column).tolist() for column in columns}
    result = compressor.compress(prose, QUERY, instruction, threshold=threshold)
    told = {"model": result.model, "query": QUERY, "instruction": result.instruction, "input_tokens": result.input_tokens}
    assert {name: body[name] for name in told} == told
    assert body["unit"] == instruction.unit and body["tags"] == list(instruction.tags) and body["seconds"] > 0
    marks = np.zeros(len(prose), bool)
    for start, end, kept in zip(*(body["candidates"][name] for name in ("starts", "ends", "kept")), strict=True):
        marks[start:end] = kept
    for span in result.spans:  # what is kept without a budget is said
        assert marks[[span.start, span.end - 1]].all()
        marks[span.start : span.end] = False
    assert not marks.any()


def test_cuts_lie_in_what_they_are_cut_from(compressor, prose):
    found = compressor.candidates(prose, QUERY)
    clauses, words = cuts(found)
    for larger, smaller in ((found.candidates, clauses), (clauses, words)):
        home = np.searchsorted(larger.ends, smaller.ends)
        assert (larger.starts[home] <= smaller.starts).all() and (np.diff(home) <= 1).all()
        assert (smaller.tokens <= larger.tokens[home]).all()


def test_what_is_scored_once_can_be_chosen_from_again(compressor, prose):
    found = compressor.candidates(prose, QUERY)
    for budget in range(1, 80, 6):
        (ranges,) = select([found], budget, None, 0.0, compressor.count_tokens)
        spans = compressor.compress(prose, QUERY, max_tokens=budget).spans
        assert ranges == [(span.start, span.end, span.score, 0) for span in spans]


async def test_it_has_an_asynchronous_form_and_checks_its_threshold(compressor, prose):
    found = await compressor.acandidates(prose, QUERY, "Keep it.", threshold=0.2)
    again = compressor.candidates(prose, QUERY, "Keep it.", threshold=0.2)
    np.testing.assert_array_equal(found.candidates.kept, again.candidates.kept)
    with pytest.raises(BudgetError):
        compressor.candidates(prose, QUERY, threshold=2)


def test_budgets_that_read_a_text_in_other_ways_have_other_scores():
    compressor = ContextCompressor.from_pretrained(device="cpu", window_size=512)
    text = FOLDER.joinpath("example.txt").read_text()
    edge = compressor.candidates(text, QUERY).skimmed_to
    for asked, budgets in ((None, (5, edge)), (edge, (5, edge)), (edge + 1, (edge + 1, 300, 10**6))):
        found = compressor.candidates(text, QUERY, max_tokens=asked)
        for budget in budgets:
            (ranges,) = select([found], budget, None, 0.0, compressor.count_tokens)
            spans = compressor.compress(text, QUERY, max_tokens=budget).spans
            assert [one[:2] for one in ranges] == [(span.start, span.end) for span in spans]
            assert [score for _, _, score, _ in ranges] == pytest.approx([span.score for span in spans], abs=1e-5)


def test_without_cuts_and_without_text(http):
    body = http.post("/v1/scores", json={"text": "", "query": QUERY}).json()
    assert body["candidates"]["starts"] == [] and body["input_tokens"] == 0
    assert "clauses" not in body and "words" not in body and body["skimmed_to"] is None


def told(reply):
    assert reply.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in reply.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def test_a_stream_tells_how_far_it_is(http, prose):
    asked = {"text": prose, "query": QUERY, "cuts": True}
    *progress, (name, answer) = told(http.post("/v1/scores", json={**asked, "stream": True}))
    windows = len(progress)
    assert windows > 2 and progress == [("progress", {"done": i + 1, "windows": windows}) for i in range(windows)]
    assert name == "done" and {**answer, "seconds": 0} == {**http.post("/v1/scores", json=asked).json(), "seconds": 0}


def test_a_stream_that_fails_says_so(compressor, prose, http_of):
    slow, brake = slowed(compressor)
    brake.error = RuntimeError("secret")
    name, body = told(http_of(slow).post("/v1/scores", json={"text": prose, "query": QUERY, "stream": True}))[-1]
    assert name == "error" and body["status"] == 500 and "secret" not in json.dumps(body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("more", "status", "kind", "words"),
    [
        ({"query": " "}, 422, "input-error", "query is empty"),
        ({"threshold": 2}, 422, "budget-error", "threshold"),
        ({"preset": "none"}, 422, "instruction-error", "unknown preset"),
        ({"preset": "code", "instruction": "Keep it."}, 422, "instruction-error", "one of them"),
        ({"max_tokens": 0}, 422, "budget-error", "max_tokens"),
        ({"ratio": 0.5}, 422, "input-error", "ratio"),
        ({"text": "word " * 3000}, 413, "limit-error", "1,000 tokens"),
    ],
)
def test_what_is_wrong_is_said_before_a_stream_begins(compressor, http_of, stream, more, status, kind, words):
    body = {"text": "Some text.", "query": QUERY, "stream": stream, **more}
    reply = http_of(compressor, max_tokens=1000).post("/v1/scores", json=body)
    assert words in problem(reply, status, kind)
