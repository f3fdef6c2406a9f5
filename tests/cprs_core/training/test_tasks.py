"""Made-up tasks: their spans are what they say, and the same seed makes the same task."""

from __future__ import annotations

import random
import re

import pytest

from cprs_core.training import tasks

FILLER = "It rained in Porto. The bridge was closed at 5.30 p.m. Nobody came.\nThe mayor said so. " * 12
WORDS = ("amber", "bridge", "castle", "dune")


@pytest.mark.parametrize("make", [make for make, _ in tasks.TASKS.values()])
def test_spans_are_inside_trimmed_and_in_order(make: tasks.Maker) -> None:
    for seed in range(60):
        task = make(random.Random(seed), FILLER, WORDS)
        last = 0
        for start, end, _ in task.spans:
            assert last <= start < end <= len(task.text)
            assert task.text[start:end].strip() == task.text[start:end]
            last = end
        assert task.query and vars(task) == vars(make(random.Random(seed), FILLER, WORDS))


def test_needles_name_the_asked_key_and_no_other_does() -> None:
    found = 0
    for seed in range(200):
        task = tasks.needles(random.Random(seed), FILLER, WORDS)
        marked = [task.text[start:end] for start, end, _ in task.spans]
        found += bool(marked)
        keys = [key for key in re.findall(r"[\w-]+", task.query) if any(key in line for line in marked)]
        assert keys or not marked
    assert found > 150  # the key is missing in a tenth


def test_a_chain_leads_from_the_value_to_every_variable() -> None:
    for seed in range(80):
        task = tasks.chains(random.Random(seed), FILLER, WORDS)
        value = re.search(r"\d{5}", task.query)
        assert value
        known = {value[0]}
        for start, end, _ in task.spans:
            words = [word for word in re.findall(r"\w+", task.text[start:end]) if word not in {"VAR", "let", "set", "to"}]
            left, right = words
            assert right in known, task.text[start:end]
            known.add(left)


def test_a_table_gives_the_row_that_is_asked_for_and_its_headings() -> None:
    for seed in range(80):
        task = tasks.tables(random.Random(seed), FILLER, WORDS)
        heading, row = (task.text[start:end] for start, end, _ in task.spans)
        between = next(mark for mark in (" | ", "\t", "   ", ",") if mark in heading)
        headings, (name, *cells) = (line.strip("| ").split(between) for line in (heading, row))
        assert name.lower() in task.query and all(re.fullmatch(r"[$\d,.%]+", cell) for cell in cells)
        assert len(headings) == len(cells) + 1
        lines = [line for line in task.text.splitlines() if line in (heading, row)]
        assert lines[0] == heading and row in lines


def test_no_text_of_the_filler_is_lost() -> None:
    task = tasks.pass_key(random.Random(3), FILLER, WORDS)
    [(start, end, _)] = task.spans
    rest = (task.text[:start] + task.text[end:]).split()
    assert rest == FILLER.split()
