"""Adaptive depth: what stops is what the head says, and what goes on scores as if nothing could stop."""

import copy
import itertools

import numpy as np
import pytest
import torch
from fakes import SIZES
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig

from cprs_core.early_exit import UNLIKELY, threshold
from cprs_core.errors import ModelLoadError
from cprs_core.linear import Dense
from cprs_core.model import critic_class
from cprs_core.scoring import PackedScorer, Window
from cprs_core.shape import Shape


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(**SIZES, first_bidirectional_layer=3, early_exit_layer=2)
    critic = critic_class(LlamaConfig)(config).eval().requires_grad_(False)
    critic.early_exit.outer.weight.normal_(0, 2)
    return critic


def scorer(model, limit):
    return PackedScorer(Shape.of(model.config.to_dict()), model.state_dict().get, Dense, has_tags=True, early_exit=limit)


def windows():
    rng = np.random.default_rng(0)
    prefix, tags = rng.integers(0, 60, 5).astype(np.int32), np.array([3, 4, 9], np.int32)
    return [Window(rng.integers(0, 60, n).astype(np.int32), prefix, tags) for n in (20, 1, 33, 5, 20, 9)]


def guesses(model, window):
    """From transformers' own states."""
    row = torch.from_numpy(np.concatenate([window.prefix, window.ids])).long()[None]
    behind = []
    hook = model.model.layers[1].register_forward_hook(lambda _m, _i, output: behind.append(output))
    output = model(row)
    hook.remove()
    torch.testing.assert_close(output.early_logits, model.early_exit(behind[0]))
    return output.early_logits[0, len(window.prefix) :].sigmoid()


def test_windows_that_promise_nothing_stop_and_the_others_are_scored_in_full(model):
    given = windows()
    full = scorer(model, None).score(given, {}).split([len(window.ids) for window in given])
    best = sorted(float(guesses(model, window).max()) for window in given)
    for limit in (0.0, *((a + b) / 2 for a, b in itertools.pairwise(best)), 1.1):
        found = scorer(model, limit).score(given, {}).split([len(window.ids) for window in given])
        stopped = 0
        for window, part, whole in zip(given, found, full, strict=True):
            guess = guesses(model, window)
            if guess.max() >= limit:
                torch.testing.assert_close(part, whole, atol=1e-5, rtol=0)
                continue
            stopped += 1
            torch.testing.assert_close(1 - part[:, 2], guess * UNLIKELY, atol=1e-6, rtol=1e-3)
            assert (part[:, 4:] == 1).all() and part[:, :4].argmax(1).eq(2).all()
        assert stopped == sum(value < limit for value in best)


def test_what_stops_saves_layers(model, monkeypatch):
    one, rows = scorer(model, 1.1), []
    linear = torch.nn.functional.linear
    monkeypatch.setattr("cprs_core.linear.F.linear", lambda x, *weights: rows.append(len(x)) or linear(x, *weights))
    memory = {}
    one.score(windows(), memory)
    rows.clear()
    one.score(windows(), memory)
    assert rows == [88] * 10  # two layers of four products, and the head's two


@pytest.mark.parametrize("layer", [0, 4, "two", 2.5])
def test_an_exit_must_lie_behind_a_causal_layer(model, layer):
    config = copy.deepcopy(model.config.to_dict()) | {"early_exit_layer": layer}
    with pytest.raises(ModelLoadError, match="early_exit_layer must be 1 to 3"):
        Shape.of(config)


def test_without_a_threshold_nothing_stops(model):
    torch.testing.assert_close(scorer(model, None).score(windows(), {}), scorer(model, 0.0).score(windows(), {}))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), min_size=1, max_size=30), st.sampled_from([0.0, 0.1, 0.5]))
def test_the_threshold_is_the_highest_that_loses_no_more(pairs, lost):
    values, relevant = torch.tensor([v / 20 for v, _ in pairs]), torch.tensor([r for _, r in pairs])
    limit, figures = threshold(values, relevant, lost)
    total = max(1, int(relevant.sum()))
    assert int(relevant[values < limit].sum()) / total <= lost + 1e-6
    assert figures["relevant_lost"] <= lost + 1e-6
    higher = sorted({float(v) for v in values if v > limit})
    if higher:
        assert int(relevant[values < higher[0]].sum()) / total > lost - 1e-6
