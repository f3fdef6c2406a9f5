"""The engine: results in order whatever the batches, within its budget, and less at a time when memory runs out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cprs_core.engine import Engine, Window
from cprs_core.errors import CprsError, OutOfMemoryError
from cprs_core.model import CriticOutput


class FakeCritic:
    """Logits that depend on the token alone; keeps the shapes that it was called with."""

    def __init__(self, most_tokens=10**9, error=torch.OutOfMemoryError):
        self.shapes, self.masks, self.most_tokens, self.error = [], [], most_tokens, error
        self.table = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))

    def get_input_embeddings(self):
        return SimpleNamespace(weight=torch.empty(0))

    def __call__(self, ids, attention_mask=None, tag_ids=None):
        self.shapes.append(tuple(ids.shape))
        self.masks.append(attention_mask)
        if ids.numel() > self.most_tokens:
            raise self.error("out of memory: could not alloc")
        tags = None if tag_ids is None else torch.sin(ids[..., None] * tag_ids[:, None, :].float())
        return CriticOutput(torch.empty(0), self.table[ids], tags)


def windows(lengths, tags=(3, 5), seed=0):
    rng = np.random.default_rng(seed)
    return [
        Window(rng.integers(0, 1000, n).astype(np.int32), min(7, n - 1), np.array([*tags, 9], np.int32)) for n in lengths
    ]


def check(results, given, model, has_tags=True):
    assert len(results) == len(given)
    for result, window in zip(results, given, strict=True):
        own = torch.from_numpy(window.ids[window.prefix :]).long()
        np.testing.assert_allclose(result.label_probs, model.table[own].softmax(-1), rtol=1e-6)
        tags = torch.sin(own[:, None] * torch.from_numpy(window.tag_ids).float()).softmax(-1)[:, :-1]
        np.testing.assert_allclose(result.tag_probs, tags if has_tags else np.ones_like(tags), rtol=1e-5)


def test_results_come_in_order_from_batches_of_like_length():
    model = FakeCritic()
    rng = np.random.default_rng(1)
    given = windows(rng.integers(10, 200, 600))
    check(list(Engine(model, batch_tokens=1000).run(given)), given, model)
    assert all(rows * length <= 1000 for rows, length in model.shapes)
    assert len(model.shapes) < 150
    for mask in model.masks:
        assert mask is None or mask.sum(1).min() * 1.15 >= mask.shape[1]


def test_equal_lengths_need_no_mask():
    model = FakeCritic()
    list(Engine(model, batch_tokens=1000).run(windows([50] * 30)))
    assert model.shapes == [(20, 50), (10, 50)]
    assert model.masks == [None, None]


def test_a_window_longer_than_the_budget_runs_alone():
    model = FakeCritic()
    given = windows([500, 500, 20])
    check(list(Engine(model, batch_tokens=100).run(given)), given, model)
    assert sorted(model.shapes) == [(1, 20), (1, 500), (1, 500)]


def test_windows_with_other_tags_may_run_together_if_as_many():
    model = FakeCritic()
    given = [*windows([30] * 4, (3, 5)), *windows([30] * 4, (6, 2), 1), *windows([30] * 4, (4,), 2)]
    check(list(Engine(model, batch_tokens=4096).run(given)), given, model)
    assert sorted(model.shapes) == [(4, 30), (8, 30)]


def test_without_tags_all_tag_probabilities_are_one():
    model = FakeCritic()
    given = windows([30, 40])
    check(list(Engine(model, has_tags=False).run(given)), given, model, has_tags=False)


def test_windows_are_taken_as_needed():
    taken = 0

    def source():
        nonlocal taken
        for window in windows([20] * 2000):
            taken += 1
            yield window

    results = Engine(FakeCritic(), batch_tokens=200).run(source())
    assert taken == 0
    next(results)
    assert taken <= 256
    assert len(list(results)) == 1999


def test_the_first_result_waits_for_its_own_batch_only():
    model = FakeCritic()
    next(Engine(model, batch_tokens=1000).run(windows([500, *[20] * 200])))
    assert len(model.shapes) == 1


def test_nothing_gives_nothing():
    assert list(Engine(FakeCritic()).run([])) == []


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_when_memory_runs_out_batches_are_halved_and_stay_small(error):
    model = FakeCritic(most_tokens=130, error=error)
    given = windows([40] * 9 + [60] * 9)
    engine = Engine(model, batch_tokens=1000)
    check(list(engine.run(given)), given, model)
    assert engine.batch_tokens <= 130
    model.shapes.clear()
    check(list(engine.run(given)), given, model)
    assert all(rows * length <= 130 for rows, length in model.shapes)


def test_one_window_that_does_not_fit_is_an_error_that_says_what_to_do():
    with pytest.raises(OutOfMemoryError, match=r"one window of 40 tokens .* smaller window_size") as caught:
        list(Engine(FakeCritic(most_tokens=30)).run(windows([40])))
    assert isinstance(caught.value, CprsError) and isinstance(caught.value, MemoryError)


def test_other_errors_of_the_model_are_not_swallowed():
    class Broken(FakeCritic):
        def __call__(self, *args, **kwargs):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(Engine(Broken()).run(windows([40, 40])))


def test_a_window_scores_alike_alone_and_among_others(tiny):
    rng = np.random.default_rng(3)
    given = [
        Window(rng.integers(0, 1190, n).astype(np.int32), 5, np.array([11, 12], np.int32)) for n in rng.integers(20, 90, 24)
    ]
    together = list(Engine(tiny.model, batch_tokens=2000).run(given))
    flips = 0
    for window, among in zip(given, together, strict=True):
        (alone,) = Engine(tiny.model).run([window])
        np.testing.assert_allclose(among.label_probs, alone.label_probs, atol=1e-4)
        np.testing.assert_allclose(among.tag_probs, alone.tag_probs, atol=1e-4)
        flips += (among.label_probs.argmax(1) != alone.label_probs.argmax(1)).sum()
    assert flips == 0
