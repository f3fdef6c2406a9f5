"""The engine: results in order whatever the batches, within its budget, and less at a time when memory runs out."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from fakes import TableScorer, check, packed_scorer

from cprs_core.engine import Engine
from cprs_core.errors import CprsError, OutOfMemoryError
from cprs_core.packed import PackedDecoder
from cprs_core.scoring import PlainScorer, Window


class FakeScorer(TableScorer):
    """Keeps the batches that it was called with."""

    def __init__(self, most_tokens=10**9, error=torch.OutOfMemoryError):
        super().__init__()
        self.batches, self.most_tokens, self.error = [], most_tokens, error

    def score(self, windows, memory):
        self.batches.append([len(window.ids) for window in windows])
        assert len({window.tag_ids.tobytes() for window in windows}) == 1
        if sum(self.batches[-1]) > self.most_tokens:
            raise self.error("out of memory: could not alloc")
        return torch.cat([self.expected(window) for window in windows])


def windows(lengths, tags=(3, 5), seed=0, prefix=7):
    rng = np.random.default_rng(seed)
    shared, tag_ids = np.full(prefix, seed, np.int32), np.array([*tags, 9], np.int32)
    return [Window(rng.integers(0, 1000, n).astype(np.int32), shared, tag_ids) for n in lengths]


def test_results_come_in_order_from_batches_within_the_budget():
    fake = FakeScorer()
    given = windows(np.random.default_rng(1).integers(1, 200, 600))
    check(list(Engine([fake], batch_tokens=1000).run(given)), given, fake)
    sizes = [[n + 7 for n in batch] for batch in fake.batches]
    assert all(sum(batch) <= 1000 for batch in sizes)
    assert all(sum(a) + b[0] > 1000 for a, b in pairwise(sizes))  # none could be fuller


def test_every_prefix_counts_because_the_bidirectional_layers_run_it_for_each_window():
    fake = FakeScorer()
    list(Engine([fake], batch_tokens=180).run([*windows([40] * 4, prefix=20), *windows([40] * 3, seed=1, prefix=20)]))
    assert fake.batches == [[40] * 3, [40] * 3, [40]]


def test_a_window_longer_than_the_budget_runs_alone():
    fake = FakeScorer()
    given = windows([500, 500, 20])
    check(list(Engine([fake], batch_tokens=100).run(given)), given, fake)
    assert fake.batches == [[500], [500], [20]]


def test_windows_with_other_tags_run_apart():
    fake = FakeScorer()
    given = [*windows([30] * 4, (3, 5)), *windows([30] * 4, (6, 2), 1), *windows([30] * 4, (4,), 2)]
    check(list(Engine([fake], batch_tokens=4096).run(given)), given, fake)
    assert fake.batches == [[30] * 4] * 3


def test_replicas_take_turns_and_results_come_in_order():
    fakes = [FakeScorer(), FakeScorer(most_tokens=60), FakeScorer()]
    given = windows([40] * 20)
    check(list(Engine(fakes, batch_tokens=100).run(given)), given, fakes[0])
    assert [len(fake.batches) > 2 for fake in fakes] == [True] * 3
    assert sum(len(batch) for fake in (fakes[0], fakes[2]) for batch in fake.batches) < 20


def test_replicas_run_a_prefix_once_each(tiny_model, monkeypatch):
    runs, states = [], PackedDecoder.states
    monkeypatch.setattr(
        PackedDecoder, "states", lambda decoder, *given: runs.append(given[2].qkv is None) or states(decoder, *given)
    )
    replicas = [packed_scorer(tiny_model) for _ in range(2)]
    replicas[1].device = torch.device("cpu", 0)  # as on another one
    given = [*windows([40] * 12), *windows([40] * 12, seed=1)]
    expected = list(Engine(replicas[:1], batch_tokens=150).run(given))
    assert len(runs) == 8 and sum(runs) == 2
    runs.clear()
    for one, other in zip(Engine(replicas, batch_tokens=150).run(given), expected, strict=True):
        np.testing.assert_allclose(one.label_probs, other.label_probs, atol=1e-6)
    assert len(runs) == 8 and sum(runs) == 4


def test_windows_are_taken_as_needed():
    taken = 0

    def source():
        nonlocal taken
        for window in windows([20] * 2000):
            taken += 1
            yield window

    results = Engine([FakeScorer()], batch_tokens=200).run(source())
    assert taken == 0
    next(results)
    assert taken <= 11
    assert len(list(results)) == 1999


def test_the_first_result_waits_for_its_own_batch_only():
    fake = FakeScorer()
    next(Engine([fake], batch_tokens=1000).run(windows([500, *[20] * 200])))
    assert len(fake.batches) == 1


@pytest.mark.parametrize(("first", "batches"), [(300, [[300], [280, 290], [310]]), (100, [[100, 280, 290], [310]])])
def test_a_gpu_gets_a_long_first_window_at_once(first, batches):
    taken, fake = [], FakeScorer()
    given = windows([first, 280, 290, 310])
    score = fake.score
    fake.score = lambda *batch: taken.append(len(left)) or score(*batch)
    left = list(given)
    engine = Engine([fake], batch_tokens=900)
    engine.ahead = 1
    check(list(engine.run(left.pop(0) for _ in given)), given, fake)
    assert fake.batches == batches
    assert taken[0] == (3 if first == 300 else 0)


def test_every_gpu_gets_a_long_window_of_its_own_first():
    fakes = [FakeScorer(), FakeScorer()]
    given = windows([280] * 8)
    engine = Engine(fakes, batch_tokens=900)
    engine.ahead = 3
    check(list(engine.run(given)), given, fakes[0])
    assert [fake.batches for fake in fakes] == [[[280], [280] * 3], [[280], [280] * 3]]


@pytest.mark.parametrize(
    ("more", "replicas", "tokens"), [(0, 1, 2**21), (6, 1, 3 * 2**21), (6, 2, 3 * 2**20), (6, 4, 2**21)]
)
def test_batches_are_larger_where_that_is_faster_unless_replicas_share_them(more, replicas, tokens, monkeypatch):
    monkeypatch.setattr("cprs_core.engine._GPU_TOKENS", 2**30)
    scorers = [FakeScorer() for _ in range(replicas)]
    for scorer in scorers:
        scorer.device, scorer.token_bytes, scorer.batch_bytes = torch.device("meta"), 2**10, more * 2**30
    assert Engine(scorers).batch_tokens == tokens


def test_nothing_gives_nothing():
    assert list(Engine([FakeScorer()]).run([])) == []


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_when_memory_runs_out_batches_are_halved_and_stay_small(error):
    fake = FakeScorer(most_tokens=130, error=error)
    given = windows([40] * 9 + [60] * 9)
    engine = Engine([fake], batch_tokens=1000)
    check(list(engine.run(given)), given, fake)
    assert engine.batch_tokens <= 130
    fake.batches.clear()
    check(list(engine.run(given)), given, fake)
    assert all(sum(batch) <= 130 for batch in fake.batches)


def test_one_window_that_does_not_fit_is_an_error_that_says_what_to_do():
    with pytest.raises(OutOfMemoryError, match=r"one window of 47 tokens .* smaller window_size") as caught:
        list(Engine([FakeScorer(most_tokens=30)]).run(windows([40])))
    assert isinstance(caught.value, CprsError) and isinstance(caught.value, MemoryError)


def test_other_errors_of_the_model_are_not_swallowed():
    class Broken(FakeScorer):
        def score(self, windows, memory):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(Engine([Broken()]).run(windows([40, 40])))


@pytest.mark.parametrize("has_tags", [True, False])
@pytest.mark.parametrize("kind", ["packed", "plain"])
def test_a_window_scores_alike_alone_and_among_others(tiny_model, kind, has_tags):
    one = packed_scorer(tiny_model, has_tags=has_tags) if kind == "packed" else PlainScorer(tiny_model, has_tags)
    rng = np.random.default_rng(3)
    prefixes, tag_ids = [rng.integers(0, 1190, n).astype(np.int32) for n in (5, 12)], np.array([11, 12, 13], np.int32)
    given = [
        Window(rng.integers(0, 1190, n).astype(np.int32), prefixes[i % 2], tag_ids)
        for i, n in enumerate(rng.integers(1, 90, 24))
    ]
    together = list(Engine([one], batch_tokens=300).run(given))
    for window, among in zip(given, together, strict=True):
        (alone,) = Engine([one]).run([window])
        row = torch.from_numpy(np.concatenate([window.prefix, window.ids])).long()[None]
        output = tiny_model(row, tag_ids=torch.from_numpy(tag_ids).long())
        labels = output.label_logits.softmax(-1)[0, len(window.prefix) :].numpy()
        tags = output.tag_logits.softmax(-1)[0, len(window.prefix) :, :-1].numpy()
        for result in (alone, among):
            np.testing.assert_allclose(result.label_probs, labels, atol=1e-4)
            np.testing.assert_allclose(result.tag_probs, tags if has_tags else np.ones_like(tags), atol=1e-4)
            assert (result.label_probs.argmax(1) == labels.argmax(1)).all()


def test_the_plain_way_pads_only_windows_of_like_length(tiny_model, monkeypatch):
    shapes, forward = [], tiny_model.forward
    monkeypatch.setattr(tiny_model, "forward", lambda ids, **rest: shapes.append(tuple(ids.shape)) or forward(ids, **rest))
    given = windows([100, 3, 98, 3, 30, 4, 100], prefix=5)
    together = PlainScorer(tiny_model, True).score(given, {})
    assert sorted(shapes) == [(1, 35), (3, 9), (3, 105)]
    alone = torch.cat([PlainScorer(tiny_model, True).score([window], {}) for window in given])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
