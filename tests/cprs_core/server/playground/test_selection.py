"""selection.js keeps what cprs_core.selection keeps: the same spans for the same candidates, budget and count of tokens."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cprs_core import Instruction
from cprs_core.instruction import UNITS
from cprs_core.segments import segment
from cprs_core.selection import Scored, kept_text, select
from cprs_core.server.scores import pieces
from cprs_core.spans import TokenScores, candidates

QUERY = "When does the licence end?"
SELECT = """async ([text, answer, budgets]) => {
  const [{Source}, {decided, joined, select, tableOf}] = await Promise.all(
    ["offsets", "selection"].map((name) => import(`./playground/${name}.js`)));
  const source = new Source(text), table = tableOf(answer), found = [];
  for (const budget of budgets) {
    const {spans, kept} = budget ? await select(table, budget, source, count) : {spans: decided(table), kept: null};
    const rows = spans.map(({start, end, score, tag}) => [start, end, score, tag]);
    found.push({spans: rows, kept, text: joined(source, spans)});
  }
  return found;
}"""
COUNTS = {"few": lambda text: len(text) // 5, "as expected": lambda text: len(text) // 2, "many": lambda text: len(text)}


@pytest.fixture
def selecting(visit):
    """A page that selects as Python does, from the same candidates, with tokens counted by the same function."""
    page = visit()
    counter = {}
    page.expose_function("count", lambda text: counter["of"](text))

    def compare(scored, budgets, count):
        counter["of"] = count
        body = json.loads(json.dumps(pieces(scored, True)))
        for budget, found in zip(budgets, page.evaluate(SELECT, [scored.text, body, budgets]), strict=True):
            (ranges,) = select([scored], budget, None, 0.0, count)
            assert [span[:2] + span[3:] for span in found["spans"]] == [[a, b, tag] for a, b, _, tag in ranges]
            assert [span[2] for span in found["spans"]] == pytest.approx([score for _, _, score, _ in ranges], abs=1e-12)
            assert found["text"] == kept_text(scored.text, ranges)
            if budget:
                assert found["kept"] == count(found["text"]) <= budget

    return compare


@st.composite
def scored_texts(draw, odd_text):
    """Texts in tokens of two characters, with few different scores, or one, so that many are equal, and two tags."""
    text, unit = draw(odd_text), draw(st.sampled_from(UNITS))
    starts = np.arange(0, len(text), 2)
    grade, most = st.sampled_from([0.0, 0.25, 0.5, 1.0]), 6 * len(starts)
    grades = st.one_of(st.lists(grade, min_size=most, max_size=most), grade.map(lambda one: [one] * most))
    values = np.array(draw(grades), np.float32).reshape(-1, 6)
    labels = (values[:, :4] + 0.1) / (values[:, :4] + 0.1).sum(1, keepdims=True)
    scores = TokenScores(starts, np.minimum(starts + 2, len(text)), labels, values[:, 4:] / 2)
    limit = draw(st.sampled_from([None, 0.2]))
    return Scored(text, scores, candidates(segment(text, unit), scores, unit, limit), limit)


def test_by_many_texts_and_budgets(selecting, odd_text):
    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(scored_texts(odd_text), st.lists(st.integers(1, 30), min_size=1, max_size=6), st.sampled_from(list(COUNTS)))
    def check(scored, budgets, count):
        selecting(scored, [None, *budgets], COUNTS[count])

    check()


def test_a_word_that_does_not_fit_parts_its_neighbours(selecting):
    text = "I antidisestablishmentarianism a incomprehensibilities to."
    starts = np.arange(0, len(text), 2)
    scores = TokenScores(
        starts, starts + 2, np.full((len(starts), 4), 0.25, np.float32), np.ones((len(starts), 1), np.float32)
    )
    scored = Scored(text, scores, candidates(segment(text, "sentence"), scores, "sentence", None), None)
    selecting(scored, [1, 2, 3, 4, 5], lambda text: len(text.split()))


@pytest.mark.parametrize("preset", ["sentences", "answer", "paragraphs", "code"])
def test_by_every_budget(selecting, compressor, prose, preset):
    scored = compressor.candidates(prose, QUERY, Instruction.preset(preset))
    selecting(scored, [None, *range(1, 40), *range(40, 700, 20)], compressor.count_tokens)
    selecting(scored, [*range(1, 200, 9)], lambda text: compressor.count_tokens(text) + len(text) // 10)


def test_offsets_are_those_of_code_points(visit, odd_text):
    page = visit()
    slices = """async ([text, cuts]) => {
      const {Source} = await import("./playground/offsets.js");
      const source = new Source(text);
      return [source.length, ...cuts.map(([start, end]) => source.slice(start, end))];
    }"""

    @settings(max_examples=60)
    @given(odd_text, st.data())
    def check(text, data):
        cut = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted)
        cuts = data.draw(st.lists(cut, max_size=5))
        assert page.evaluate(slices, [text, cuts]) == [len(text), *(text[start:end] for start, end in cuts)]

    check()
