"""The scheduler: nothing lost, nothing mixed, in turn, and what ends a call ends no other."""

import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from fakes import TableScorer, check, until

from cprs_core import DeadlineError, ServiceError
from cprs_core.engine import Engine
from cprs_core.scoring import Window
from cprs_core.server.scheduler import SharedEngine
from cprs_core.server.ticket import Ticket, current


class FakeScorer(TableScorer):
    """Keeps its batches; waits while it is held."""

    def __init__(self):
        super().__init__()
        self.batches, self.go, self.poison = [], threading.Event(), None
        self.go.set()

    def score(self, windows, memory):
        assert self.go.wait(20)
        assert len({window.tag_ids.tobytes() for window in windows}) == 1
        self.batches.append([int(window.prefix[0]) for window in windows])
        if self.poison in self.batches[-1]:
            raise RuntimeError("poisoned")
        return torch.cat([self.expected(window) for window in windows])


def windows(lengths, name=0, tags=(3, 5)):
    """Windows whose prefix is one token, the name of the call."""
    rng = np.random.default_rng(name)
    prefix, tag_ids = np.full(1, name, np.int32), np.array([*tags, 9], np.int32)
    return [Window(rng.integers(0, 1000, n).astype(np.int32), prefix, tag_ids) for n in lengths]


@pytest.fixture
def fake():
    return FakeScorer()


@pytest.fixture
def engine(fake):
    engine = SharedEngine(Engine([fake], batch_tokens=100))
    yield engine
    fake.go.set()
    engine.close()
    assert not engine._thread.is_alive()


def within(ticket, function):
    def work():
        current.set(ticket)
        return function()

    return contextvars.copy_context().run(work)


@pytest.mark.parametrize(("scorers", "ahead"), [(1, 0), (1, 1), (3, 5)])
def test_nothing_is_lost_or_mixed_among_many_callers(fake, scorers, ahead):
    others = [FakeScorer() for _ in range(scorers - 1)]
    engine = SharedEngine(Engine([fake, *others], batch_tokens=100))
    engine.ahead = ahead  # as with GPUs
    rng = np.random.default_rng(5)
    calls = [
        windows(rng.integers(1, 130, rng.integers(0, 60)), name, tags=((3, 5), (4,), (7, 8, 2))[name % 3])
        for name in range(40)
    ]
    with ThreadPoolExecutor(40) as pool:
        for given, results in zip(calls, pool.map(lambda given: list(engine.run(given)), calls), strict=True):
            check(results, given, fake)
    batches = [batch for scorer in (fake, *others) for batch in scorer.batches]
    assert sum(map(len, batches)) == sum(map(len, calls))
    assert any(len(set(batch)) > 1 for batch in batches)
    assert engine.queued == 0 and engine._waiting == 0 and not engine._calls
    engine.close()


def test_batches_keep_to_the_budget_and_are_full_where_they_can_be(fake, engine):
    given = windows([19] * 50)
    check(list(engine.run(given)), given, fake)
    assert max(map(len, fake.batches)) == 5
    assert len(fake.batches) <= 12


def test_a_window_over_the_budget_runs_alone(fake, engine):
    given = windows([10, 500, 10])
    check(list(engine.run(given)), given, fake)


def test_windows_are_taken_a_bounded_number_ahead(fake, engine):
    taken = 0

    def lazily():
        nonlocal taken
        for window in windows([49] * 100):
            taken += 1
            yield window

    results = engine.run(lazily())
    assert taken == 0
    next(results)
    assert taken <= 2 * 100 // 50 + 2
    results.close()


def first(fake, name):
    """The number of the batch in which a call's windows first ran."""
    return next(number for number, batch in enumerate(fake.batches) if name in batch)


def test_a_short_call_is_not_stuck_behind_a_long_one(fake, engine):
    fake.go.clear()
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(lambda: list(engine.run(windows([49] * 400, 1))))
        until(lambda: engine.queued >= 2)
        short = pool.submit(lambda: list(engine.run(windows([30], 2))))
        until(lambda: len(engine._calls) == 2)
        fake.go.set()
        assert len(short.result(10)) == 1 and len(long.result(10)) == 400
    assert first(fake, 2) <= 1  # the first batch ran already
    assert len(fake.batches) >= 200


def test_calls_take_turns(fake, engine):
    fake.go.clear()
    engine.ahead = 4  # every call hands all of its windows over, so that the order does not depend on the threads
    calls = [windows([49] * 12, name) for name in range(1, 5)]
    threads = [threading.Thread(target=lambda given=given: list(engine.run(given))) for given in calls]
    for thread in threads:
        thread.start()
    until(lambda: engine.queued == 46)  # all but those of the first batch
    fake.go.set()
    for thread in threads:
        thread.join(10)
    order = [name for batch in fake.batches for name in batch]
    for end in range(8, 40, 4):  # all four are about as far at any time
        counts = [order[:end].count(name) for name in range(1, 5)]
        assert max(counts) - min(counts) <= 3


def test_other_tags_wait_for_one_batch_only(fake, engine):
    fake.go.clear()
    with ThreadPoolExecutor(3) as pool:
        busy = [pool.submit(lambda name=name: list(engine.run(windows([40] * 30, name)))) for name in (1, 2)]
        until(lambda: engine.queued >= 4)
        other = pool.submit(lambda: list(engine.run(windows([40], 3, tags=(8,)))))
        until(lambda: len(engine._calls) == 3)
        fake.go.set()
        assert len(other.result(10)) == 1
        assert all(len(one.result(10)) == 30 for one in busy)
    assert first(fake, 3) <= 2


def test_an_error_reaches_those_in_the_batch_alone(fake, engine):
    fake.poison = 13
    calls = [windows([60] * 5, name) for name in range(10, 16)]  # one a batch

    def run(given):
        try:
            return list(engine.run(given))
        except RuntimeError as error:
            return str(error)

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(run, calls))
    assert results[3] == "poisoned"
    for given, result in zip(calls[:3] + calls[4:], results[:3] + results[4:], strict=True):
        check(result, given, fake)
    again = windows([60], 20)
    check(list(engine.run(again)), again, fake)


def test_an_error_of_the_windows_reaches_their_caller_alone(fake, engine):
    def broken():
        yield from windows([40] * 2)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(engine.run(broken()))
    until(lambda: engine.queued == 0)
    assert not engine._calls


def test_a_closed_call_drops_its_windows(fake, engine):
    results = engine.run(windows([49] * 100, 1))
    next(results)
    fake.go.clear()
    results.close()
    assert engine.queued == 0 and engine._waiting == 0
    fake.go.set()
    before = len(fake.batches)
    time.sleep(0.05)
    assert len(fake.batches) <= before + 1  # the one that was running


def test_a_cancelled_call_ends_while_it_waits(fake, engine):
    fake.go.clear()
    ticket = Ticket()
    threading.Timer(0.1, ticket.cancel, [ServiceError("enough")]).start()
    began = time.monotonic()
    with pytest.raises(ServiceError, match="enough"):
        within(ticket, lambda: list(engine.run(windows([49] * 100))))
    assert time.monotonic() - began < 2
    assert engine.queued == 0
    with pytest.raises(ServiceError, match="enough"):  # and begins nothing new
        within(ticket, lambda: list(engine.run(windows([5]))))


def test_a_call_past_its_deadline_ends_and_the_others_go_on(fake, engine):
    fake.go.clear()
    with ThreadPoolExecutor(1) as pool:
        given = windows([49] * 20, 2)
        other = pool.submit(lambda: list(engine.run(given)))
        with pytest.raises(DeadlineError, match=r"longer than 0\.1 s"):
            within(Ticket(0.1), lambda: list(engine.run(windows([49] * 100, 1))))
        assert len(engine._calls) == 1
        fake.go.set()
        check(other.result(10), given, fake)


def test_closing_fails_those_that_wait_and_those_that_come(fake, engine):
    fake.go.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: list(engine.run(windows([49] * 100))))
        until(lambda: engine.queued > 0)
        threading.Timer(0.1, fake.go.set).start()
        engine.close()
        with pytest.raises(ServiceError, match="shut down"):
            waiting.result(10)
    assert not engine.alive
    with pytest.raises(ServiceError, match="shut down"):
        list(engine.run(windows([5])))


def test_a_fault_of_the_scheduler_leaves_nobody_waiting(fake):
    def broken(windows, tokens):
        raise KeyError("metrics")

    engine = SharedEngine(Engine([fake], batch_tokens=100), on_batch=broken)
    with pytest.raises(KeyError):
        list(engine.run(windows([60] * 10)))
    assert not engine.alive


def test_a_lone_caller_waits_a_moment_at_most(fake, engine):
    began = time.perf_counter()
    for name in range(20):
        list(engine.run(windows([5], name)))
    assert time.perf_counter() - began < 1


def test_results_are_those_of_the_engine_alone(compressor, prose):
    shared = SharedEngine(compressor.engine)
    texts = [prose[: 60 * i] for i in range(1, 12)]
    jobs = compressor._jobs([(text, "Who owns it?") for text in texts], _sentences())

    def run(engine, job):
        return np.concatenate([one.label_probs for one in engine.run(job.engine_windows())])

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: run(shared, job), jobs))
    for job, one in zip(jobs, found, strict=True):
        np.testing.assert_allclose(one, run(compressor.engine, job), atol=5e-4)
    shared.close()


def _sentences():
    from cprs_core import Instruction

    return Instruction.sentences()
