"""The task shapes of RULER (arXiv 2404.06654), made afresh: its eight needle tests, and

    vt, vt_multi  variable tracking: which variables hold a value; one chain of four hops, or four of which one is asked for
    cwe, fwe      the most common words of a list and of a coded text, see :mod:`.frequency`
    qa_1, qa_2    questions of the user's files among other contexts of these files; what matters is in one place (as in
                  SQuAD), or in several (as in HotpotQA)

RULER asks a language model for answers; here a compressor has to keep what the answers follow from.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise, product
from typing import Any

from ..errors import InputError
from ..instruction import Instruction
from . import frequency, niah, qa
from .case import Case
from .haystack import BLANK_LINES, Haystack, load, plant
from .niah import Shape
from .options import Cases, CountTokens, TaskOptions
from .values import coded_words

HOPS = 4
GIVES_AWAY = 4  # characters; a shorter answer in another context may well be chance

_RULERS = Shape(forms=niah.FORMS[:1])
_NEEDLES = {
    "niah_single_1": replace(_RULERS, haystack="noise"),
    "niah_single_2": _RULERS,
    "niah_single_3": replace(_RULERS, value_kind="uuid"),
    "niah_multikey_1": replace(_RULERS, keys=4),
    "niah_multikey_2": replace(_RULERS, haystack="needles"),
    "niah_multikey_3": replace(_RULERS, haystack="needles", key_kind="uuid", value_kind="uuid"),
    "niah_multivalue": replace(_RULERS, values=4),
    "niah_multiquery": replace(_RULERS, keys=4, asked=4),
}
_CHAINS = {"vt": 1, "vt_multi": 4}
_FREQUENCY = {"cwe": frequency.common, "fwe": frequency.frequent}
QUESTIONS = ("qa_1", "qa_2")
SHAPES = (*_NEEDLES, *_CHAINS, *_FREQUENCY, *QUESTIONS)

Make = Callable[..., Case]
"""Makes a case: (length in tokens, rng, count_tokens, **further fields of the case)."""


class NoQuestionsError(InputError):
    """The files hold no question of the kind that a shape takes from them."""


def cases(shape: str, options: TaskOptions, count_tokens: CountTokens) -> Cases:
    """Every length with every sample.

    Raises:
        NoQuestionsError: a ``qa`` shape, and no file holds such questions.
    """
    task = f"ruler/{shape}"
    makes = _makes(shape, options)
    plans = list(product(options.lengths, range(options.samples)))

    def case(plan: tuple[int, int]) -> Case:
        length, sample = plan
        key, about = f"{length}/{sample}", {"length": length, "variant": shape}
        make = makes[sample % len(makes)]
        return make(length, options.rng(task, key), count_tokens, task=task, key=key, about=about)

    return Cases.of(plans, case, options)


def _makes(shape: str, options: TaskOptions) -> Sequence[Make]:
    """What makes the samples in turn: one for each question of the files, or one for all samples."""
    if shape in QUESTIONS:
        return _questions(shape, options)
    if shape in _FREQUENCY:
        return [_FREQUENCY[shape]]
    if shape in _CHAINS:
        return [partial(_chains, _CHAINS[shape], load(options.haystack or "noise"))]
    needles = _NEEDLES[shape]
    source = load("noise" if needles.haystack == "noise" else options.haystack or "pydoc")
    return [partial(_needles, needles, source)]


def _needles(
    shape: Shape, source: Haystack, length: int, rng: random.Random, count_tokens: CountTokens, **named: Any
) -> Case:
    return niah.hide(shape, source, length, rng.uniform(0, 100), rng, count_tokens, **named)


def _chains(chains: int, source: Haystack, length: int, rng: random.Random, count_tokens: CountTokens, **named: Any) -> Case:
    """Statements such as ``VAR B = VAR A``, each after the one that it refers to. The first chain is asked for."""
    names = (name.upper() for name in coded_words(rng, letters=5))
    numbers = rng.sample(range(10_000, 100_000), chains)
    variables = [list(islice(names, HOPS + 1)) for _ in numbers]
    statements: list[tuple[float, str]] = []
    for number, chain in zip(numbers, variables, strict=True):
        rights = [str(number), *(f"VAR {name}" for name in chain[:-1])]
        depths = sorted(rng.uniform(0, 100) for _ in chain)
        lines = (f"VAR {left} = {right}" for left, right in zip(chain, rights, strict=True))
        statements += zip(depths, lines, strict=True)

    missing = length - count_tokens("\n".join(line for _, line in statements))
    if missing < 1:
        raise InputError(f"a text of {length} tokens has no room for {len(statements)} statements; ask for a longer one")
    text, spans = plant(source.text(missing, rng, count_tokens), statements, "line")
    return Case(
        query=f"Name every variable that has the value {numbers[0]}, be it assigned directly or through other variables.",
        text=text,
        gold=spans[: HOPS + 1],
        answers=tuple(variables[0]),
        instruction=Instruction.chains(),
        **named,
    )


def _questions(shape: str, options: TaskOptions) -> Sequence[Make]:
    rows = [row for path in options.files for row in qa.read(path)]
    several = shape == "qa_2"
    questions = [row for row in rows if row.answers and _in_several_places(row) is several]
    if not questions:
        kind = "in several places" if several else "in one place"
        raise NoQuestionsError(
            f"{shape} needs JSONL files of questions with answers whose evidence lies {kind} of their contexts, and "
            + ("the given ones have none" if rows else "no file is given")
        )
    options.rng(f"ruler/{shape}", "order").shuffle(questions)
    return [partial(_among_others, row, rows) for row in questions]


def _among_others(
    question: Case, rows: Sequence[Case], length: int, rng: random.Random, count_tokens: CountTokens, **named: Any
) -> Case:
    """A question's context, between other contexts that do not give the answer away; these may come more than once."""
    told = [question.text[start:end] for start, end in question.gold.tolist()]
    told += [answer for answer in question.answers if len(answer) >= GIVES_AWAY]
    others = dict.fromkeys(row.text for row in rows if not any(words.lower() in row.text.lower() for words in told))
    if not others:
        raise InputError(
            f"{named['task']}: every context holds what answers {question.query!r}; add rows with other contexts"
        )
    source = Haystack(tuple(BLANK_LINES.sub("\n", context.strip()) for context in others))
    return replace(qa.bury(question, source, length, rng, count_tokens), **named)


def _in_several_places(row: Case) -> bool:
    return any(row.text[end:start].strip() for (_, end), (start, _) in pairwise(row.gold.tolist()))
