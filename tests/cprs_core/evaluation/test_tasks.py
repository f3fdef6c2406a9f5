"""Tasks by name."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from cprs_core.errors import InputError
from cprs_core.evaluation.niah import VARIANTS
from cprs_core.evaluation.ruler import SHAPES
from cprs_core.evaluation.tasks import TASKS, TaskOptions, build

from .conftest import count_words, plain

OPTIONS = TaskOptions(lengths=(1_000,), depths=2)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    rows = [{"query": "q", "context": f"This is {n}000. That is {n}111.", "answers": [f"{n}000"]} for n in range(1, 6)]
    rows.append({"query": "r", "context": "One is 7777. Two is none. Three is 8888.", "answers": ["7777", "8888"]})
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_every_name_builds_cases_of_that_name(questions: Path) -> None:
    for name in TASKS:
        cases = build(name, TaskOptions(lengths=(1_000,), depths=2, files=(questions,)), count_words)
        assert len(cases) and cases[0].task.startswith(name) and cases[-1].task.startswith(name)
        assert len({(case.task, case.key) for case in cases}) == len(cases)


def test_a_task_is_all_its_variants(questions: Path) -> None:
    options = TaskOptions(lengths=(1_000,), depths=2, files=(questions,))
    for name, variants in (("niah", VARIANTS), ("ruler", SHAPES)):
        whole = build(name, options, count_words)
        parts = [case for variant in variants for case in build(f"{name}/{variant}", options, count_words)]
        assert [plain(case) for case in whole] == [plain(case) for case in parts]


def test_shapes_without_questions_are_left_out_with_a_word() -> None:
    with pytest.warns(RuntimeWarning) as noted:
        cases = build("ruler", OPTIONS, count_words)
    assert [str(warning.message).split(":")[0] for warning in noted] == [f"ruler/qa_{n} is left out" for n in (1, 2)]
    assert {case.task for case in cases} == {f"ruler/{shape}" for shape in SHAPES if not shape.startswith("qa")}
    with pytest.raises(InputError, match="qa_1 needs"):
        build("ruler/qa_1", OPTIONS, count_words)


def test_nothing_is_made_before_it_is_asked_for() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cases = build("niah", TaskOptions(lengths=(10**12,), depths=101, samples=100), count_words)
    assert len(cases) == len(VARIANTS) * 101 * 3 * 100


def test_an_unknown_name_is_refused() -> None:
    for name in ("nia", "niah/", "ruler/niah", "", "kv/x"):
        with pytest.raises(InputError, match=r"there is no task .*use one of: niah, niah/single"):
            build(name, OPTIONS, count_words)
