"""Skimming: guesses are those of the module of transformers, what is read is what the rule says, the rest follows."""

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from fakes import SIZES, packed_scorer
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, Qwen3Config

from cprs_core import ContextCompressor, Instruction
from cprs_core.engine import Engine
from cprs_core.errors import ModelLoadError
from cprs_core.loading import load
from cprs_core.model import critic_class
from cprs_core.scoring import Window
from cprs_core.segments import segment
from cprs_core.shape import Shape
from cprs_core.skim import UNLIKELY, Skim, best_of, choose, threshold
from cprs_core.tokens import Tokens

QUERY = "When does it end?"


@pytest.fixture(
    scope="module", params=[(LlamaConfig, 3), (LlamaConfig, 4), (Qwen3Config, 3)], ids=["llama", "causal", "qwen3"]
)
def model(request):
    kind, border = request.param
    torch.manual_seed(0)
    config = kind(**SIZES, first_bidirectional_layer=border, skim={"behind": 2, "layers": 2})
    critic = critic_class(kind)(config).eval().requires_grad_(False)
    critic.skimmer.head.weight.normal_(0, 2)
    return critic


def windows(skim=True):
    rng = np.random.default_rng(0)
    prefixes, tags = [rng.integers(0, 60, n).astype(np.int32) for n in (5, 9)], np.array([3, 4, 9], np.int32)
    lengths = (20, 1, 33, 5, 20, 9)
    return [Window(rng.integers(0, 60, n).astype(np.int32), prefixes[n % 2], tags, skim) for n in lengths]


def guesses(model, window):
    row = torch.from_numpy(np.concatenate([window.prefix, window.ids])).long()[None]
    return model(row, skim=True).skim_logits[0, len(window.prefix) :].sigmoid()


def test_guesses_are_those_of_the_module(model):
    found = packed_scorer(model).score(windows(), {}).split([len(window.ids) for window in windows()])
    for window, part in zip(windows(), found, strict=True):
        expected = guesses(model, window)
        torch.testing.assert_close(part[:, 1], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(part[:, :4].sum(1), torch.ones(len(part)))
        assert (part[:, 4:] == 1).all() and (part[:, [0, 3]] == 0).all()


def test_a_skimmer_sees_what_follows(model):
    window = windows()[2]
    other = replace(window, ids=np.append(window.ids[:-1], (window.ids[-1] + 1) % 60).astype(np.int32))
    one, two = (packed_scorer(model).score([each], {}) for each in (window, other))
    assert (one[0, 1] - two[0, 1]).abs() > 1e-6


def test_skimming_spares_layers_and_reading_is_as_without_a_skimmer(model, monkeypatch):
    rows = []
    linear = torch.nn.functional.linear
    monkeypatch.setattr("cprs_core.linear.F.linear", lambda x, *weights: rows.append(len(x)) or linear(x, *weights))
    scorer, memory = packed_scorer(model), {}
    read = scorer.score(windows(False), memory)
    scorer.score(windows(), memory)
    rows.clear()
    scorer.score(windows(), memory)
    tokens, prefixes = 88, sum(len(window.prefix) for window in windows())
    # four products a layer, two layers of each kind, and the head
    assert rows == [tokens] * 8 + [tokens + prefixes] * 8 + [tokens]
    plain = copy.deepcopy(model)
    plain.config.skim = None
    torch.testing.assert_close(read, packed_scorer(plain).score(windows(False), {}), atol=0, rtol=0)


def test_windows_to_skim_and_windows_to_read_run_apart(model):
    batches = []

    class Watched:
        device, token_bytes = torch.device("cpu"), 1

        def score(self, given, memory):
            batches.append({window.skim for window in given})
            return packed_scorer(model).score(given, memory)

    list(Engine([Watched()], batch_tokens=1000).run([*windows(), *windows(False), *windows()]))
    assert batches == [{True}, {False}, {True}]


@pytest.mark.parametrize(
    "skim", [5, {"behind": 0, "layers": 1}, {"behind": 5, "layers": 1}, {"behind": 1}, {"layers": 0, "behind": 1}]
)
def test_a_skimmer_must_lie_behind_causal_layers(model, skim):
    with pytest.raises(ModelLoadError, match="skim must say behind how many of the"):
        Shape.of(copy.deepcopy(model.config.to_dict()) | {"skim": skim})


def test_an_unfinished_skimmer_is_none():
    assert Skim.of({"skim": {"behind": 1, "layers": 1}, "window_size": 64}) is None and Skim.of({"skim": None}) is None
    assert Skim.of({"skim": {"threshold": 0.1}, "window_size": 64}) == Skim(0.1, 0.0, 64)


def test_it_pays_for_texts_of_several_windows_and_budgets_that_are_small():
    skim = Skim(0.1, 0.2, 64)
    assert skim.pays(2, 0.0) and skim.pays(9, 0.05)
    assert not skim.pays(1, 0.0) and not skim.pays(9, 0.06)


SENTENCES = st.lists(st.tuples(st.integers(1, 7), st.integers(0, 2), st.integers(0, 10)), max_size=30)
RULES = st.tuples(st.sampled_from([0.05, 0.35, 0.75, 1.1]), st.sampled_from([0.0, 0.2, 0.6, 1.0]))


@given(SENTENCES, RULES, st.integers(8, 40), st.integers(0, 3))
def test_what_is_read_is_what_the_rule_says(parts, rule, room, overlap):
    """Sentences of one-character tokens, white space behind some, each with its best guess in tenths."""
    (limit, share), spans, guess, n = rule, [], [], 0
    for size, space, best in parts:
        spans.append((n, n + size))
        guess += [best / 10, *[0.0] * (size - 1), *[0.0] * space]
        n += size + space
    tokens = Tokens(np.arange(n, dtype=np.int32), np.arange(n), np.arange(n) + 1)
    separator = np.array([-7, -8], np.int32)
    sentences = np.array(spans, np.int64).reshape(-1, 2)
    reading = choose(tokens, sentences, np.array(guess, np.float32), limit, share, separator, room, overlap)

    expected, left = set(), share * n
    for rank in sorted(range(len(parts)), key=lambda i: -parts[i][2]):
        left -= parts[rank][0]
        if parts[rank][2] / 10 >= limit or left >= 0:
            expected.add(rank)
    read = reading.places[reading.places >= 0].tolist()
    assert read == sorted(set(read))
    assert {i for i, (start, end) in enumerate(spans) if set(range(start, end)) & set(read)} == expected
    assert all(set(range(*spans[i])) <= set(read) for i in expected)
    assert set(np.flatnonzero(reading.unread)) == set(range(n)) - set(read)
    assert all(token == place for token, place in zip(reading.ids, reading.places, strict=True) if place >= 0)
    runs = [list(run) for run in np.split(np.array(read), np.flatnonzero(np.diff(read) != 1) + 1)] if read else []
    assert reading.ids.tolist() == [token for i, run in enumerate(runs) for token in ([-7, -8] if i else []) + run]
    covered = [place for start, end in reading.windows.tolist() for place in range(start, end)]
    assert set(covered) == set(range(len(reading.ids)))
    assert all(0 < end - start <= room for start, end in reading.windows.tolist())
    assert all(later[0] == earlier[1] - overlap for earlier, later in pairwise(reading.windows.tolist()))


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), max_size=20))
def test_best_of(parts):
    values = np.random.default_rng(0).random(sum(a + b for a, b in parts)).astype(np.float32)
    first = np.cumsum([0, *(a + b for a, b in parts)])[:-1].astype(np.int64)
    last = first + np.array([a for a, _ in parts], np.int64)
    expected = [values[start:end].max() for start, end in zip(first, last, strict=True)]
    np.testing.assert_array_equal(best_of(values, first, last), expected)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), min_size=1, max_size=30), st.sampled_from([0.0, 0.1, 0.5]))
def test_the_threshold_is_the_highest_that_loses_no_more(pairs, lost):
    values, relevant = torch.tensor([v / 20 for v, _ in pairs]), torch.tensor([r for _, r in pairs])
    sizes = relevant + 1
    limit, figures = threshold(values, relevant, sizes, lost)
    total = max(1, int(relevant.sum()))
    assert int(relevant[values < limit].sum()) / total <= lost + 1e-6
    assert figures["relevant_lost"] <= lost + 1e-6
    assert figures["read"] == pytest.approx(float(sizes[values >= limit].sum() / sizes.sum()))
    higher = sorted({float(v) for v in values if v > limit})
    if higher:
        assert int(relevant[values < higher[0]].sum()) / total > lost - 1e-6


# The whole way


@pytest.fixture(scope="module")
def small():
    return load(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def skimming(small):
    """The shipped critic, reading what its skimmer finds, in small windows."""
    assert small.skim is not None
    return ContextCompressor(replace(small, skim=replace(small.skim, window_size=256)), window_size=256)


@pytest.fixture(scope="module")
def whole(small):
    return ContextCompressor(replace(small, skim=None), window_size=256)


def test_scores_are_those_of_what_was_read_and_guesses_of_the_rest(skimming, whole, prose):
    found, skim = skimming.scores(prose, QUERY), skimming.checkpoint.skim
    (job,) = skimming._jobs([(prose, QUERY)], Instruction.sentences())
    skimmed = Engine(skimming.checkpoint.scorers).run(job.to_skim(256 - len(job.prefix), 0).engine_windows())
    guess = np.concatenate([1 - scores.label_probs[:, 2] for scores in skimmed])
    separator = skimming.checkpoint.tokenizer("\n").ids
    reading = choose(
        job.tokens, segment(prose, "sentence"), guess, skim.threshold, skim.share, separator, 256 - len(job.prefix), 0
    )
    assert 0 < reading.unread.sum() < len(job.tokens)
    np.testing.assert_allclose(found.keep.max(1)[reading.unread], guess[reading.unread] * UNLIKELY, rtol=1e-3, atol=1e-6)
    parts = [Window(reading.ids[a:b], job.prefix, job.tag_ids) for a, b in reading.windows]
    read = np.concatenate([scores.label_probs for scores in Engine(skimming.checkpoint.scorers).run(parts)])
    own = reading.places >= 0
    np.testing.assert_allclose(found.label_probs[reading.places[own]], read[own], atol=1e-4)


def test_a_stream_is_what_compress_gives(skimming, prose):
    spans = skimming.compress(prose, QUERY, threshold=0.02).spans
    streamed = list(skimming.stream(prose, QUERY, threshold=0.02))
    assert [(span.start, span.end) for span in spans] == [(span.start, span.end) for span in streamed]


@pytest.mark.parametrize("options", [{"ratio": 0.5}, {"threshold": 1e-9}])
def test_who_asks_for_much_has_all_of_it_read(skimming, whole, prose, options):
    one, other = (compressor.compress(prose, QUERY, **options) for compressor in (skimming, whole))
    assert [(span.start, span.end) for span in one.spans] == [(span.start, span.end) for span in other.spans]


def test_short_texts_are_read(skimming, whole, prose):
    texts = [prose[i : i + 400] for i in range(0, 4000, 400)]
    one, other = (compressor.compress_documents(texts, QUERY, max_tokens=100) for compressor in (skimming, whole))
    assert [result.spans for result in one] == [result.spans for result in other]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=200), min_size=1, max_size=12), st.sampled_from(["sentence", "word", "paragraph"]))
def test_odd_texts(skimming, parts, unit):
    text = " ".join(part * 4 for part in parts)
    instruction = Instruction("Keep it.\n- tag it with 'fact'", ("fact",), unit)
    last = 0
    for span in skimming.compress(text, QUERY, instruction, threshold=0.01).spans:
        assert last <= span.start < span.end <= len(text) and text[span.start : span.end] == span.text
        last = span.end


@given(st.floats(0, 1), st.integers(0, 5), st.integers(0, 5000))
def test_the_largest_budget_that_is_skimmed(share, windows, tokens):
    skim = Skim(0.1, share, 512)
    edge = skim.largest_budget(windows, tokens)
    assert (edge is None) == (windows < 2)
    for budget in range(0, tokens + 2, max(1, tokens // 50)) if tokens else ():
        assert skim.pays(windows, budget / tokens) == (edge is not None and budget <= edge)
