"""RULER's shapes, each against what its paper says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cprs_core.errors import InputError
from cprs_core.evaluation import ruler
from cprs_core.evaluation.case import Case
from cprs_core.evaluation.haystack import NOISE
from cprs_core.evaluation.options import Cases, TaskOptions

from .conftest import count_words, gold, plain

SHAPES = (
    *("niah_single_1", "niah_single_2", "niah_single_3", "niah_multikey_1", "niah_multikey_2", "niah_multikey_3"),
    *("niah_multivalue", "niah_multiquery", "vt", "cwe", "fwe", "qa_1", "qa_2"),
)
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# The forms of keys and values; how many keys (None: as many as there is room), values of each, keys asked for
NEEDLES: dict[str, tuple[str, str, int | None, int, int]] = {
    "niah_single_1": (r"[a-z-]+", r"\d{7}", 1, 1, 1),
    "niah_single_2": (r"[a-z-]+", r"\d{7}", 1, 1, 1),
    "niah_single_3": (r"[a-z-]+", UUID, 1, 1, 1),
    "niah_multikey_1": (r"[a-z-]+", r"\d{7}", 4, 1, 1),
    "niah_multikey_2": (r"[a-z-]+", r"\d{7}", None, 1, 1),
    "niah_multikey_3": (UUID, UUID, None, 1, 1),
    "niah_multivalue": (r"[a-z-]+", r"\d{7}", 1, 4, 1),
    "niah_multiquery": (r"[a-z-]+", r"\d{7}", 4, 1, 4),
}
ROWS: list[dict[str, Any]] = [
    {"query": "Who built it?", "context": "It was built by Ann. Nobody paid.", "spans": [[0, 20]], "answers": ["Ann"]},
    {
        "query": "Where was the builder born?",
        "context": "Bob built the mill.\n\nMany years went by.\n\nBob was born in Rome.",
        "spans": [[0, 19], [42, 63]],
        "answers": ["Rome"],
    },
    {"query": "What is told?", "context": "Nothing of it."},
    *({"query": "How old?", "context": f"Oak {n} was old. It fell.", "answers": [f"{n}"]} for n in range(7000, 7020)),
]


@pytest.fixture
def options(tmp_path: Path) -> TaskOptions:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return TaskOptions(lengths=(2_000, 5_000), samples=3, files=(path,))


def cases(shape: str, options: TaskOptions, count: Callable[[str], int] = count_words) -> Cases:
    return ruler.cases(shape, options, count)


def test_all_thirteen_shapes_are_there() -> None:
    assert set(ruler.SHAPES) == {*SHAPES, "vt_multi"} and len(SHAPES) == 13


@pytest.mark.parametrize("shape", ruler.SHAPES)
def test_every_shape(count_tokens: Callable[[str], int], options: TaskOptions, shape: str) -> None:
    made = list(cases(shape, options, count_tokens))
    assert [case.key for case in made] == ["2000/0", "2000/1", "2000/2", "5000/0", "5000/1", "5000/2"]
    assert len({case.text for case in made}) == len(made)
    for case, again in zip(made, cases(shape, options, count_tokens), strict=True):
        assert plain(case) == plain(again)
        assert case.task == f"ruler/{shape}" and case.about["variant"] == shape
        assert abs(count_tokens(case.text) / case.about["length"] - 1) < 0.02
        assert case.answers and all(any(answer in part for part in gold(case)) for answer in case.answers)


@pytest.mark.parametrize("shape", NEEDLES)
def test_needle_tests(options: TaskOptions, shape: str) -> None:
    key_form, value_form, keys, values, asked = NEEDLES[shape]
    needle = re.compile(rf"One of the special magic (?:number|uuid)s for ({key_form}) is: ({value_form})\.")
    for case in cases(shape, options):
        hidden = needle.findall(case.text)
        names = {key for key, _ in hidden}
        assert len(names) == (keys or len(hidden)) and len({value for _, value in hidden}) == len(hidden)
        assert len(hidden) > 100 if keys is None else len(hidden) == keys * values
        wanted = {key for key in names if key in case.query}
        assert len(wanted) == asked and len(case.gold) == asked * values
        assert {needle.fullmatch(part)[1] for part in gold(case)} == wanted  # type: ignore[index]
        assert set(case.answers) == {value for key, value in hidden if key in wanted}
        rest = needle.sub("", case.text)
        if shape == "niah_single_1":
            assert set(rest.split()) == set(NOISE.split())
        assert (not rest.strip()) is (keys is None)


@pytest.mark.parametrize(("shape", "chains"), [("vt", 1), ("vt_multi", 4)])
def test_variables_are_tracked_by_reading_the_text(options: TaskOptions, shape: str, chains: int) -> None:
    for case in cases(shape, options):
        held: dict[str, int] = {}
        lines: dict[str, str] = {}
        for match in re.finditer(r"^VAR ([A-Z]{5}) = (?:VAR ([A-Z]{5})|(\d{5}))$", case.text, re.MULTILINE):
            name, other, number = match.groups()
            assert name not in held
            held[name], lines[name] = int(number or held[other]), match[0]  # what is referred to, came before
        assert len(held) == 5 * chains and len(set(held.values())) == chains
        assert case.text.count("VAR ") == 2 * len(held) - chains
        [asked] = [number for number in set(held.values()) if str(number) in case.query]
        assert [name for name in held if held[name] == asked] == list(case.answers)
        assert gold(case) == [lines[name] for name in case.answers]
        assert case.instruction.tags == ("chain",)


def test_questions_lie_among_other_contexts(options: TaskOptions) -> None:
    contexts = {sentence for row in ROWS for sentence in re.split(r"\n+", row["context"])}
    for shape, parts in (("qa_1", 1), ("qa_2", 2)):
        for case in cases(shape, options):
            [row] = [row for row in ROWS if row["query"] == case.query and row["answers"] == list(case.answers)]
            assert case.text.count(row["context"]) == 1
            assert len(case.gold) == parts and all(part in row["context"] for part in gold(case))
            if "spans" in row:
                assert gold(case) == [row["context"][start:end] for start, end in row["spans"]]
            assert set(re.split(r"\n+", case.text)[:-1]) <= contexts
            assert all(answer not in case.text.replace(row["context"], "") for answer in case.answers)


def test_samples_ask_different_questions(options: TaskOptions) -> None:
    assert len({(case.query, case.answers) for case in cases("qa_1", options)}) == 3
    assert len({case.query for case in cases("qa_2", options)}) == 1  # there is no other


def test_questions_that_are_not_there(tmp_path: Path, options: TaskOptions) -> None:
    with pytest.raises(ruler.NoQuestionsError, match=r"qa_2 needs .* in several places .*no file is given"):
        cases("qa_2", TaskOptions())
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(ROWS[0]))
    with pytest.raises(ruler.NoQuestionsError, match=r"qa_2 .*the given ones have none"):
        cases("qa_2", TaskOptions(files=(path,)))
    with pytest.raises(InputError, match="every context holds what answers 'Who built it"):
        cases("qa_1", TaskOptions(files=(path,)), count_words)[0]


def test_a_text_without_room_is_refused() -> None:
    for shape, reason in (("vt_multi", "20 statements"), ("niah_multivalue", "4 needles"), ("cwe", "600"), ("fwe", "600")):
        with pytest.raises(InputError, match=rf"20 tokens .*{reason}"):
            cases(shape, TaskOptions(lengths=(20,)))[0]


def test_a_haystack_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("图书馆的造价是十五亿元。\n\n没有人知道！")
    options = TaskOptions(lengths=(400,), haystack=str(path))
    taken: dict[str, Case] = {shape: cases(shape, options)[0] for shape in ("niah_single_1", "niah_single_2", "vt")}
    assert ["图书馆" in case.text for case in taken.values()] == [False, True, True]
