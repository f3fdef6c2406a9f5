"""Labels to spans, against slow code that is plainly right."""

import json
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cprs_core import spans as module
from cprs_core.segments import segment
from cprs_core.spans import Candidates, TokenScores, best_fitting, candidates, choose, complete, runs

B, I, O, E = range(4)  # noqa: E741


def ids(labels):
    return np.array(["BIOE".index(label) for label in labels], np.int8)


def slow_runs(labels, max_gap):
    """The documented rule, one token after the other."""
    pieces, open_piece = [], None
    for i, label in enumerate(labels):
        if label == O:
            open_piece = None
            continue
        if open_piece is None or label == B:
            open_piece = [i, i]
            pieces.append(open_piece)
        open_piece[1] = i + 1
        if label == E:
            open_piece = None
    merged = []
    for start, end in pieces:
        if merged and labels[start] != B:
            before = merged[-1][1]
            if start == before or (labels[before - 1] != E and start - before <= max_gap):
                merged[-1][1] = end
                continue
        merged.append([start, end])
    return merged


@settings(max_examples=500)
@given(st.text(alphabet="BIOE", max_size=40), st.integers(0, 4))
@example("", 2)
@example("E", 2)
@example("IIOOE", 2)
@example("BIEEI", 2)
@example("BIOOOE", 2)
@example("OOBOOIOOOEB", 2)
def test_runs_are_those_of_the_rule(labels, max_gap):
    found = runs(ids(labels), max_gap)
    assert found.shape == (len(found), 2)
    assert found.tolist() == slow_runs(ids(labels), max_gap)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("OBIEO", [[1, 4]]),
        ("BIIBIE", [[0, 3], [3, 6]]),  # a B begins anew
        ("OIEO", [[1, 3]]),  # B is missing
        ("OEO", [[1, 2]]),  # an E alone
        ("BIOIE", [[0, 5]]),  # one O in the middle
        ("BIOOIE", [[0, 6]]),
        ("BIOOOIE", [[0, 2], [5, 7]]),
        ("BEOIE", [[0, 2], [3, 5]]),  # the first is closed
        ("BIOBE", [[0, 2], [3, 5]]),  # the second has its B
        ("OOO", []),
    ],
)
def test_runs_repair_what_is_broken(labels, expected):
    assert runs(ids(labels)).tolist() == expected


def test_labels_that_need_no_repair_give_the_spans_of_the_reference(tiny_path):
    texts = json.loads((tiny_path.parent / "spans.json").read_text("utf-8"))
    assert sum(len(case["spans"]) for text in texts for case in text["cases"]) > 200
    for text in texts:
        starts, ends = np.array(text["offsets"]).T
        for case in text["cases"]:
            found = runs(ids(case["labels"]))
            assert np.stack([starts[found[:, 0]], ends[found[:, 1] - 1]], 1).tolist() == case["spans"]


def slow_complete(ranges, units):
    groups = []
    for start, end in ranges:
        touched = {i for i, (a, b) in enumerate(units) if a < end and b > start}
        if touched and groups and groups[-1] & touched:
            groups[-1] |= touched
        elif touched:
            groups.append(touched)
    return [[min(group), max(group) + 1] for group in groups]


def _disjoint(data, most, least_gap=0):
    lengths = data.draw(st.lists(st.tuples(st.integers(least_gap, 4), st.integers(1, 6)), max_size=most))
    ranges, at = [], 0
    for gap, length in lengths:
        ranges.append([at + gap, at + gap + length])
        at += gap + length
    return np.array(ranges, np.int64).reshape(-1, 2)


@settings(max_examples=300)
@given(st.data())
def test_complete_takes_every_unit_that_is_touched(data):
    ranges, units = _disjoint(data, 8), _disjoint(data, 8)
    found = complete(ranges, units)
    assert found.shape == (len(found), 2)
    assert found.tolist() == slow_complete(ranges.tolist(), units.tolist())


def random_scores(rng, n, tags=2, fond_of_o=2.0):
    logits = rng.normal(size=(n, 4)) * 2
    logits[:, O] += fond_of_o
    labels = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    kinds = rng.dirichlet(np.ones(tags + 1), n)[:, :tags]
    return labels.astype(np.float32), kinds.astype(np.float32)


def score(tokens, seed, tags=2):
    rng = np.random.default_rng(seed)
    return TokenScores(tokens.starts, tokens.ends, *random_scores(rng, len(tokens), tags))


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.sampled_from([None, 0.1, 0.5]))
def test_labels_with_and_without_a_threshold(seed, threshold):
    labels, kinds = random_scores(np.random.default_rng(seed), 30)
    scores = TokenScores(np.arange(30), np.arange(1, 31), labels, kinds)
    np.testing.assert_allclose(scores.keep, labels[:, [B, I, E]].sum(1)[:, None] * kinds, atol=1e-6)
    for i, found in enumerate(scores.labels(threshold)):
        if threshold is None:
            assert labels[i, found] == labels[i].max()
        elif scores.keep[i].max() < threshold:
            assert found == O
        else:
            assert found != O and labels[i, found] == labels[i, [B, I, E]].max()


@settings(max_examples=120)
@given(st.data(), st.sampled_from(["word", "sentence", "line", "paragraph"]), st.sampled_from([None, 0.15, 0.4]))
def test_candidates_are_units_with_mean_scores(tiny, odd_text, data, unit, threshold):
    text = data.draw(odd_text)
    scores = score(tiny.tokenizer(text), len(text))
    units = segment(text, unit)
    found = candidates(units, scores, unit, threshold)
    pieces = slow_complete(
        [[scores.starts[a], scores.ends[b - 1]] for a, b in slow_runs(scores.labels(threshold), module.MAX_GAP)], units
    )
    expected, i = [], 0
    while i < len(units):
        end = next((b for a, b in pieces if a == i), i + 1) if unit == "word" else i + 1
        expected.append((i, end))
        i = end
    assert np.stack([found.starts, found.ends], 1).tolist() == [[units[a][0], units[b - 1][1]] for a, b in expected]
    for k, (a, b) in enumerate(expected):
        inside = (scores.starts < found.ends[k]) & (scores.ends > found.starts[k])
        assert found.tokens[k] == inside.sum() > 0
        means = scores.keep[inside].mean(0)
        assert found.scores[k] == pytest.approx(means.max(), abs=1e-5)
        assert means[found.tags[k]] == pytest.approx(means.max(), abs=1e-5)
        marked = any(low <= a and b <= high for low, high in pieces)
        assert found.marked[k] == marked
        if unit == "word" or threshold is None:
            assert found.kept[k] == marked
        else:
            assert found.kept[k] == (found.scores[k] >= threshold)


def part(rows):
    """Candidates of (score, tokens, tag, whole) rows, three characters each, one apart."""
    n = len(rows)
    starts = np.arange(n, dtype=np.int64) * 4
    values, tokens, tags, whole = (np.array(column) for column in zip(*rows, strict=True)) if n else [np.empty(0)] * 4
    kept = np.ones(n, bool)
    return Candidates(
        starts, starts + 3, values.astype(np.float32), tags.astype(int), tokens.astype(int), kept, kept, whole.astype(bool)
    )


ROWS = st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), st.integers(0, 9), st.integers(0, 1), st.booleans()))


@settings(max_examples=300)
@given(st.lists(ROWS, min_size=1, max_size=4), st.integers(0, 60))
def test_choose_is_greedy_in_score_then_reading_order(rows, budget):
    parts = [part(each) for each in rows]
    expected = [[False] * len(each) for each in rows]
    left = budget
    places = [(-row[0], p, i) for p, each in enumerate(rows) for i, row in enumerate(each)]
    for _, p, i in sorted(places):
        if rows[p][i][1] <= left:
            left -= rows[p][i][1]
            expected[p][i] = True
    assert [mask.tolist() for mask in choose(parts, budget)] == expected


@settings(max_examples=200)
@given(st.lists(ROWS, min_size=1, max_size=4), st.integers(1, 40), st.data())
def test_drop_weakest_frees_the_tokens_that_it_should(rows, tokens, data):
    masks = [[data.draw(st.booleans()) for _ in each] for each in rows]
    expected = [list(mask) for mask in masks]
    left = tokens
    for _, p, i in sorted((row[0], -p, -i) for p, each in enumerate(rows) for i, row in enumerate(each)):
        if left > 0 and expected[-p][-i]:
            expected[-p][-i] = False
            left -= rows[-p][-i][1]
    found = module.drop_weakest([part(each) for each in rows], [np.array(mask, bool) for mask in masks], tokens)
    assert [mask.tolist() for mask in found] == expected


@settings(max_examples=200)
@given(ROWS, st.data())
def test_spans_join_chosen_neighbours_of_one_tag(rows, data):
    chosen = [data.draw(st.booleans()) for _ in rows]
    expected = []
    for i, (value, tokens, tag, whole) in enumerate(rows):
        if not chosen[i]:
            continue
        weight = max(tokens, 1)
        last = expected[-1] if expected else None
        if last and last["i"] == i - 1 and last["tag"] == tag and not (whole and rows[i - 1][3]):
            last |= {"i": i, "end": 4 * i + 3, "sum": last["sum"] + value * weight, "weight": last["weight"] + weight}
        else:
            first = {"start": 4 * i, "sum": value * weight, "weight": weight}
            expected.append({"i": i, "end": 4 * i + 3, "tag": tag, **first})
    found = module.spans(part(rows), np.array(chosen, bool))
    assert [(a, b, tag) for a, b, _, tag in found] == [(x["start"], x["end"], x["tag"]) for x in expected]
    assert [s for _, _, s, _ in found] == pytest.approx([x["sum"] / x["weight"] for x in expected], abs=1e-6)


@pytest.mark.parametrize("unit", ["word", "sentence"])
def test_a_million_tokens_with_ten_thousand_spans_take_less_than_a_second(unit):
    n = 1_000_000
    labels = np.full((n, 4), 0.01, np.float32)
    labels[:, O] = 0.9
    for offset, label in ((0, B), (1, I), (2, I), (3, E)):
        labels[offset + 40 :: 100, O], labels[offset + 40 :: 100, label] = 0.01, 0.9
    at = np.arange(n, dtype=np.int64) * 5
    scores = TokenScores(at, at + 5, labels, np.ones((n, 1), np.float32))
    size = 5 if unit == "word" else 125
    units = np.stack([np.arange(0, 5 * n, size), np.arange(0, 5 * n, size) + size], 1)
    began = time.perf_counter()
    found = candidates(units, scores, unit, None)
    kept = module.spans(found, found.kept)
    (mask,) = choose([found], 40_000)
    assert time.perf_counter() - began < 1
    assert len(kept) == 10_000 and mask.any()


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 4)), max_size=30),
    st.floats(0, 200),
)
def test_the_best_fitting_are_those_of_a_greedy_loop(sentences: list[tuple[int, int]], budget: float) -> None:
    taken, left = [False] * len(sentences), budget
    for index in sorted(range(len(sentences)), key=lambda index: (-sentences[index][1], index)):
        if sentences[index][0] <= left:
            taken[index] = True
            left -= sentences[index][0]
    lengths, scores = np.array(sentences, np.int64).reshape(-1, 2).T
    assert best_fitting(lengths, scores.astype(float), budget).tolist() == taken


def test_what_does_not_fit_is_skipped() -> None:
    lengths, scores = np.array([30, 8, 5]), np.array([3.0, 2.0, 1.0])
    assert best_fitting(lengths, scores, 15).tolist() == [False, True, True]
    assert best_fitting(lengths, scores, 4).tolist() == [False, False, False]
