"""Questions of the user's own: what is read, what is gold, what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cprs_core.errors import DataError, InputError
from cprs_core.evaluation import qa
from cprs_core.evaluation.case import Case
from cprs_core.evaluation.options import TaskOptions

from .conftest import count_words, gold, plain

CONTEXT = "Ann was born in 1985. She saw New  York in May. It cost US$5!\n\n图书馆在罗马。没有人知道！Rome is far."


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def read(tmp_path: Path, **row: Any) -> Case:
    [case] = qa.read(write(tmp_path / "x.jsonl", {"query": "q?", "context": CONTEXT, **row}))
    return case


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"answers": ["1985"]}, ["Ann was born in 1985."]),
        ({"answers": ["Ann", "Rome"]}, ["Ann was born in 1985.", "Rome is far."]),
        ({"answers": ["New York"]}, ["She saw New  York in May."]),  # white space is alike
        ({"answers": ["5"]}, ["It cost US$5!"]),  # not in 1985
        ({"answers": ["$5"]}, ["It cost US$5!"]),
        ({"answers": ["罗马"]}, ["图书馆在罗马。"]),
        ({"answers": ["1985. She"]}, ["Ann was born in 1985.", "She saw New  York in May."]),
        ({"answers": ["Rome", "London"]}, ["Rome is far."]),
        ({"spans": [[0, 3]]}, ["Ann"]),
        ({"spans": [[16, 20], [4, 7], [0, 5]]}, ["Ann was", "1985"]),
        ({"spans": [[51, 55, "answer"], [0, 21, "evidence"], [22, 25]]}, ["Ann was born in 1985.", "She"]),
        ({"spans": [[0, 3, "answer"]], "answers": ["Anna"]}, ["Ann"]),
        ({"spans": [], "answers": ["Ann"]}, []),
        ({"spans": None, "answers": None}, []),
        ({}, []),
    ],
)
def test_what_is_gold(tmp_path: Path, row: dict[str, Any], expected: list[str]) -> None:
    case = read(tmp_path, **row)
    assert gold(case) == expected
    assert case.about == {"kind": "answerable" if expected else "unanswerable"}
    assert case.answers == (tuple(row.get("answers") or ()) if expected else ())
    assert (case.task, case.key, case.text, case.query) == ("qa/x", "1", CONTEXT, "q?")
    assert case.gold.dtype == np.int64 and case.gold.shape == (len(expected), 2) and not case.needs_all


def test_needs_all_and_an_instruction(tmp_path: Path) -> None:
    case = read(tmp_path, answers=["Ann", "Rome"], needs_all=True, instruction="Tag the names with 'name'.")
    assert case.needs_all and case.instruction.tags == ("name",) and len(case.gold) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "Expecting"),
        ("[1]", "a row is an object"),
        ({"context": "c"}, "query must be a string"),
        ({"query": " ", "context": "c"}, "query must be a non-empty"),
        ({"query": "q", "context": 3}, "context must be a string"),
        ({"query": "q", "context": "a\ud800"}, "context holds a lone surrogate"),
        ({"query": "q", "context": "c", "answers": "c"}, "answers must be a list"),
        ({"query": "q", "context": "c", "answers": [""]}, "answers must be a list of non-empty"),
        ({"query": "q", "context": "one two", "answers": ["on"]}, "answers: the context does not hold on word for word"),
        ({"query": "q", "context": "one", "answers": ["one", "six"], "needs_all": True}, "answers: .* not hold six word"),
        ({"query": "q", "context": "c", "spans": [[0, 2]]}, r"spans: 0\.\.2 is not inside the context of 1 characters"),
        ({"query": "q", "context": "c", "spans": [[0, 0.5]]}, "spans must be"),
        ({"query": "q", "context": "c", "spans": {"0": 1}}, "spans must be a list"),
        ({"query": "q", "context": "c", "needs_all": 1}, "needs_all must be true or false"),
        ({"query": "q", "context": "c", "instruction": ""}, "instruction: "),
        ({"query": "q", "context": "c", "instruction": 5}, "instruction: "),
    ],
)
def test_a_bad_row_is_refused_with_file_line_and_field(tmp_path: Path, row: object, reason: str) -> None:
    path = write(tmp_path / "x.jsonl", {"query": "q", "context": "c"}, "", row)
    with pytest.raises(DataError, match=rf"x\.jsonl, line 3: {reason}.*; see `cprs eval --help`"):
        qa.read(path)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none is given"):
        qa.cases(TaskOptions(), count_words)
    with pytest.raises(DataError, match=r"missing\.jsonl cannot be read"):
        qa.cases(TaskOptions(files=(tmp_path / "missing.jsonl",)), count_words)
    (tmp_path / "x.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(DataError, match=r"x\.jsonl cannot be read as UTF-8"):
        qa.read(tmp_path / "x.jsonl")
    with pytest.raises(InputError, match="more than one is called a; rename"):
        qa.cases(TaskOptions(files=(tmp_path / "a.jsonl", tmp_path / "sub" / "a.json")), count_words)


def test_rows_of_all_files_in_order_and_up_to_a_limit_of_each(tmp_path: Path) -> None:
    rows = [{"query": f"q{number}", "context": "c"} for number in range(5)]
    files = (write(tmp_path / "b.jsonl", *rows), write(tmp_path / "a.jsonl", rows[0], "", rows[1]))
    made = [(case.task, case.key, case.query) for case in qa.cases(TaskOptions(files=files), count_words)]
    assert made == [*(("qa/b", str(n + 1), f"q{n}") for n in range(5)), ("qa/a", "1", "q0"), ("qa/a", "3", "q1")]
    drawn = [case.task for case in qa.cases(TaskOptions(files=files, limit=1), count_words)]
    assert drawn == ["qa/b", "qa/a"]


def test_contexts_are_buried_whole(count_tokens: Callable[[str], int], tmp_path: Path) -> None:
    rows = {"query": "q", "context": CONTEXT, "answers": ["1985", "Rome"]}, {"query": "r", "context": "X"}
    path = write(tmp_path / "x.jsonl", *rows)
    options = TaskOptions(lengths=(1_000, 3_000), samples=2, haystack="pydoc", files=(path,))
    made = list(qa.cases(options, count_tokens))
    assert [case.key for case in made[:5]] == ["1/1000/0", "1/1000/1", "1/3000/0", "1/3000/1", "2/1000/0"]
    for case in made[:4]:
        assert gold(case) == ["Ann was born in 1985.", "Rome is far."]
        before, after = case.text.split(CONTEXT)
        assert (not before or before.endswith("\n\n")) and (not after or after.startswith("\n\n"))
    for case, again in zip(made, qa.cases(options, count_tokens), strict=True):
        assert abs(count_tokens(case.text) / case.about["length"] - 1) < 0.015
        assert plain(case) == plain(again)
    assert len({case.text for case in made}) == len(made)


def test_a_context_that_is_long_enough_stays_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", {"query": "q", "context": CONTEXT})
    [case] = qa.cases(TaskOptions(lengths=(5,), haystack="noise", files=(path,)), count_words)
    assert case.text == CONTEXT


def test_gold_holds_a_word_of_any_script(odd_text: st.SearchStrategy[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("odd")

    @given(odd_text.filter(str.strip), st.data())
    def check(text: str, data: st.DataObject) -> None:
        # the whole of a run of non-space characters has borders at both sides
        word = data.draw(st.sampled_from(text.split()))
        case = read(folder, context=f"First. {text} Last.", answers=[word])
        places = [match.start() for match in re.finditer(re.escape(word), case.text)]
        assert any(start <= place < end for start, end in case.gold.tolist() for place in places)
        assert word in "".join(gold(case))

    check()
