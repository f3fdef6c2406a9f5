"""selection.js keeps what cprs_core.selection keeps: the same spans for the same candidates, budget and count of tokens."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cprs_core import Instruction
from cprs_core.selection import select
from cprs_core.server.schemas import ScoresRequest
from cprs_core.server.scores import answer

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
PRESETS = ("sentences", "answer", "paragraphs", "code")


@pytest.fixture
def selecting(visit, server):
    """A page that selects as the server would, with tokens counted in Python: honestly, or far too many."""
    page = visit()
    greed = [0]
    compressor = server.service.compressor

    def count(text):
        return compressor.count_tokens(text) + greed[0] * len(text) // 10

    page.expose_function("count", count)

    def compare(text, preset, threshold, budgets, greedy):
        greed[0] = greedy
        asked = ScoresRequest(text=text, query=QUERY, preset=preset, threshold=threshold, cuts=True)
        body = json.loads(json.dumps(answer(server.service, asked, asked.wanted())))
        scored = compressor.candidates(text, QUERY, Instruction.preset(preset), threshold=threshold)
        for budget, found in zip(budgets, page.evaluate(SELECT, [text, body, budgets]), strict=True):
            share = 0.0  # the candidates that the model keeps are those near the best already
            (ranges,) = select([scored], budget, None, share, count)
            assert [span[:2] + span[3:] for span in found["spans"]] == [[a, b, tag] for a, b, _, tag in ranges]
            assert [span[2] for span in found["spans"]] == pytest.approx([score for _, _, score, _ in ranges], abs=1e-12)
            if budget:
                assert found["kept"] == count(found["text"]) <= budget

    return compare


def test_by_many_texts_and_budgets(selecting, odd_text):
    @settings(max_examples=60)
    @given(
        odd_text,
        st.sampled_from(PRESETS),
        st.sampled_from([None, None, 0.2]),
        st.lists(st.integers(1, 80), min_size=1, max_size=6),
        st.sampled_from([0, 0, 1]),
    )
    def check(text, preset, threshold, budgets, greedy):
        selecting(text, preset, threshold, [None, *budgets], greedy)

    check()


@pytest.mark.parametrize("preset", PRESETS)
def test_by_every_budget(selecting, prose, preset):
    selecting(prose, preset, None, [*range(1, 40), *range(40, 700, 20)], 0)
    selecting(prose, preset, None, [*range(1, 200, 9)], 1)


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
