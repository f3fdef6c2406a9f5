"""Instructions that ask for several things, and for all but one."""

from __future__ import annotations

import random

from cprs_core.training.phrases import choose_kind, in_two_tags, several_kinds, without
from cprs_core.training.splits import Record
from cprs_core.training.tasks import Task

TEXT = "Ann Lee sailed to Chile. Bo stayed in Porto."


def entities(kind: str, *words: str) -> Record:
    spans = [(TEXT.index(word), TEXT.index(word) + len(word), "answer") for word in words]
    query = f"Extract the names of {kind}."
    return Record(source="wikigold", query=query, context=TEXT, spans=spans, answers=list(words), doc="d")


def test_two_kinds_have_two_tags() -> None:
    task = several_kinds(random.Random(0), [entities("people", "Ann Lee", "Bo"), entities("places", "Chile", "Porto")])
    assert task and task.instruction and set(task.instruction.tags) == {"people", "places"}
    found = {(task.instruction.tags[column], TEXT[start:end]) for start, end, column in task.spans}
    assert found == {("people", "Ann Lee"), ("people", "Bo"), ("places", "Chile"), ("places", "Porto")}
    assert all(f"with '{tag}'" in task.instruction.prompt for tag in task.instruction.tags)
    assert several_kinds(random.Random(0), [entities("people", "Bo")]) is None


def test_the_answer_within_the_evidence() -> None:
    record: Record = {**entities("people", "Ann Lee"), "query": "Who sailed?"}
    task = in_two_tags(random.Random(0), Task("Who sailed?", TEXT, [(0, 24, 0)]), record)
    assert task.spans == [(0, 24, 0), (0, 7, 1)] and task.instruction and len(task.instruction.tags) == 2
    elsewhere = Task("Who sailed?", TEXT, [(25, 44, 0)])
    assert in_two_tags(random.Random(0), elsewhere, record) == elsewhere


def test_kinds_follow_the_shares() -> None:
    both: Record = {**entities("x", "Bo"), "source": "s", "spans": [(25, 44, "evidence"), (25, 27, "answer")]}
    kinds = [choose_kind(random.Random(seed), both, 0.5, 0.5) for seed in range(400)]
    assert 150 < kinds.count("answer") < 250 and 60 < kinds.count("paragraphs") < 140
    assert choose_kind(random.Random(0), entities("people", "Bo"), 0.0, 1.0) == "entities"


def test_what_is_not_wanted_is_named_last() -> None:
    for seed in range(20):
        text = without(random.Random(seed), "Who came?", "Who left?")
        assert text.index("Who came?") < text.index("Who left?") and len(text) > 20
