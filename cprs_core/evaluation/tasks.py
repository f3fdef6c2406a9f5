"""The evaluation tasks by name. A task makes cases: a text, a question, and what of the text has to survive."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial

from ..errors import InputError
from . import kv, niah, qa, ruler
from .case import Case
from .options import Cases, CountTokens, TaskOptions

__all__ = ["TASKS", "CountTokens", "TaskOptions", "build"]

TASKS = {
    "niah": "all variants of the needle test",
    "niah/single": "one needle in a haystack",
    "niah/multikey": "needles of four keys, one of which is asked for",
    "niah/multivalue": "four needles of one key, all wanted",
    "niah/multiquery": "needles of four keys, all asked for",
    "ruler": "all of RULER's shapes (qa_1 and qa_2 need files)",
    "ruler/niah_single_1": "a number in repeated filler",
    "ruler/niah_single_2": "a number in prose",
    "ruler/niah_single_3": "a uuid in prose",
    "ruler/niah_multikey_1": "numbers of four keys in prose, one asked for",
    "ruler/niah_multikey_2": "one number in nothing but needles",
    "ruler/niah_multikey_3": "one uuid in nothing but needles, keys are uuids too",
    "ruler/niah_multivalue": "four numbers of one key in prose",
    "ruler/niah_multiquery": "numbers of four keys in prose, all asked for",
    "ruler/vt": "the variables that hold a value, over four assignments",
    "ruler/vt_multi": "the same, among four chains of assignments",
    "ruler/cwe": "the ten most common words of a list",
    "ruler/fwe": "the three most frequent words of a coded text",
    "ruler/qa_1": "your questions with evidence in one place, among other contexts",
    "ruler/qa_2": "your questions with evidence in several places, among other contexts",
    "kv": "one pair of a large JSON object",
    "qa": "your own questions and contexts, from JSONL files",
}
"""The names that :func:`build` knows, with a line of help each."""

_BUILDERS: dict[str, Callable[[TaskOptions, CountTokens], Cases]] = {
    **{f"niah/{variant}": partial(niah.cases, variant) for variant in niah.VARIANTS},
    **{f"ruler/{shape}": partial(ruler.cases, shape) for shape in ruler.SHAPES},
    "kv": kv.cases,
    "qa": qa.cases,
}


def build(name: str, options: TaskOptions, count_tokens: CountTokens) -> Sequence[Case]:
    """The cases of a task, or of all its variants.

    Args:
        name: one of ``TASKS``.
        count_tokens: the tokens that lengths are measured in.

    Returns:
        A lazy sequence: ``len`` is known at once, a case is made when it is asked for, from its own seed.

    Raises:
        InputError: no such task, or options that it cannot use.
        DataError: a file of questions that is not as documented.

    Warns:
        RuntimeWarning: a shape of ``ruler`` is left out, because the files hold no questions for it.
    """
    if name in _BUILDERS:
        return _BUILDERS[name](options, count_tokens)
    if name not in TASKS:
        raise InputError(f"there is no task {name!r}; use one of: {', '.join(TASKS)}")
    parts: list[Cases] = []
    for variant in (known for known in _BUILDERS if known.startswith(f"{name}/")):
        try:
            parts.append(_BUILDERS[variant](options, count_tokens))
        except ruler.NoQuestionsError as error:
            warnings.warn(f"{variant} is left out: {error}", RuntimeWarning, stacklevel=2)
    return Cases.joined(parts)
