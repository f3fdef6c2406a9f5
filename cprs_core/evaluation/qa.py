"""Questions of the user's own: JSONL files of queries, contexts and what in them answers.

A row: ``{"query": str, "context": str, "spans": [[start, end], ...], "answers": [str], "needs_all": bool,
"instruction": str}``, of which the first two are needed. Offsets are characters, end exclusive; a span may name a tag,
``[start, end, "evidence"]``, as in training data: where there is evidence, other spans do not count. Without ``spans``,
every sentence that holds an answer word for word is gold; with neither, or with ``"spans": []``, nothing in the context
answers. ``needs_all``: all answers are wanted, not any one.

With a haystack, every context is buried in it at each of the lengths; one that is as long already stays alone.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, product
from pathlib import Path
from typing import Any

from ..errors import CprsError, InputError
from ..instruction import Instruction
from ..segments import segment
from ..training.data import parse_jsonl, record
from .case import Case
from .haystack import Haystack, load, plant
from .options import Cases, CountTokens, TaskOptions
from .ranges import Ranges, covered, ranges, union
from .values import listed

# Not between two letters or digits: "5" is not in "1985"; scripts without spaces have no such borders
_BORDER = "(?!(?<=[0-9A-Za-z])(?=[0-9A-Za-z]))"


def cases(options: TaskOptions, count_tokens: CountTokens) -> Cases:
    """Every row of every file; with a haystack, at every length and as often as there are samples.

    Raises:
        InputError: no file, or two of one name.
        DataError: a file or a row that is not as documented.
    """
    names = Counter(path.stem for path in options.files)
    if not names:
        raise InputError("the task qa takes its questions from your own JSONL files, and none is given")
    if repeated := [name for name, count in names.items() if count > 1]:
        raise InputError(f"results go by the files' names, and more than one is called {repeated[0]}; rename one")
    return Cases.joined([_file(path, options, count_tokens) for path in options.files])


def _file(path: Path, options: TaskOptions, count_tokens: CountTokens) -> Cases:
    rows = read(path)
    if options.haystack is None:
        return Cases.of(rows, lambda case: case, options)
    source = load(options.haystack)

    def make(plan: tuple[Case, int, int]) -> Case:
        case, length, sample = plan
        key = f"{case.key}/{length}/{sample}"
        case = replace(case, key=key, about={**case.about, "length": length})
        return bury(case, source, length, options.rng(case.task, key), count_tokens)

    return Cases.of(list(product(rows, options.lengths, range(options.samples))), make, options)


def read(path: Path) -> list[Case]:
    """The rows of a file as cases of their contexts alone; the key is the line's number.

    Raises:
        DataError: the file cannot be read, or a row is not as documented: the message gives line and field.
    """
    return list(parse_jsonl(path, lambda row, line: _case(row, f"qa/{path.stem}", str(line)), "cprs eval"))


def bury(case: Case, source: Haystack, length: int, rng: random.Random, count_tokens: CountTokens) -> Case:
    """The case with a text of ``length`` tokens that holds its own somewhere, as paragraphs between others.

    A text that is as long already stays alone.
    """
    missing = length - count_tokens(case.text)
    if missing < 1:
        return case
    around = source.text(missing, rng, count_tokens)
    text, [[start, _]] = plant(around, [(rng.uniform(0, 100), case.text)], "paragraph")
    return replace(case, text=text, gold=case.gold + start)


def _case(row: dict[str, Any], task: str, key: str) -> Case:
    checked = record(row, task)
    context, answers, spans = checked["context"], tuple(checked["answers"]), checked["spans"]
    needs_all = row.get("needs_all", False)
    if not isinstance(needs_all, bool):
        raise ValueError(f"needs_all must be true or false, not {needs_all!r}")
    try:
        instruction = Instruction.of(row.get("instruction"))
    except CprsError as error:
        raise ValueError(f"instruction: {error}") from error
    if row.get("spans") is None:
        gold = _holding(context, answers, needs_all)
    else:
        evidence = [(start, end) for start, end, tag in spans if tag == "evidence"]
        gold = union(ranges(sorted(evidence or [(start, end) for start, end, _ in spans])))
    about = {"kind": "answerable" if len(gold) else "unanswerable"}
    return Case(task, key, checked["query"], context, gold, answers if len(gold) else (), needs_all, instruction, about)


def _holding(context: str, answers: Sequence[str], needs_all: bool) -> Ranges:
    """The sentences that hold an answer, or a part of one that goes on. Case matters; all white space is alike."""
    patterns = (_BORDER + r"\s+".join(map(re.escape, answer.split())) + _BORDER for answer in answers)
    found = [[match.span() for match in re.finditer(pattern, context)] for pattern in patterns]
    if answers and not (all if needs_all else any)(found):
        missing = [answer for answer, places in zip(answers, found, strict=True) if not places]
        raise ValueError(f"answers: the context does not hold {listed(missing)} word for word; give spans as well")
    sentences = segment(context, "sentence")
    return sentences[covered(sentences, union(ranges(sorted(chain.from_iterable(found))))) > 0]
