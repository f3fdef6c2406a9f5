"""Needle in a haystack: sentences that have nothing to do with the long text around them (the paper's figure 4, RULER).

    single      one needle
    multikey    several keys with a needle each, of which one is asked for
    multivalue  several needles of one key, all wanted
    multiquery  several keys, all asked for

The wanted needle lies at the case's depth; where several are wanted, one of them does, and the others lie anywhere, as
needles of keys that nobody asks for do.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import chain, islice, product
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..instruction import Instruction
from ..segments import Unit
from .case import Case
from .haystack import Haystack, load, plant, take
from .options import Cases, CountTokens, TaskOptions
from .values import KINDS, Kind, listed, names, values

FORMS = (
    "One of the special magic {kind}s for {key} is: {value}.",  # RULER's
    "Whoever asks about {key} should be told that its special magic {kind} is {value}.",
    "By the way, {value} is the special magic {kind} for {key}.",
    "For {key} the special magic {kind} was set to {value}.",
    "As for {key}, people remember {value} as its special magic {kind}.",
    "It is written on a note that the special magic {kind} of {key} reads {value}.",
)
_CALLED: dict[Kind, str] = {"number": "number", "words": "phrase", "uuid": "uuid"}
_SHORTEST = 8  # tokens; no needle of any form is shorter


@dataclass(frozen=True)
class Shape:
    """How many needles of which kinds are hidden where.

    Attributes:
        keys: how many keys have needles; the first ``asked`` of them are asked for. values: needles of each key.
        key_kind, value_kind: what keys and values are. forms: what a needle may read like; a case has one form.
        haystack: what the needles lie in. ``"needles"``: nothing but needles of other keys, one a line; None: what the
            options say.
    """

    keys: int = 1
    values: int = 1
    asked: int = 1
    key_kind: Kind = "words"
    value_kind: Kind = "number"
    forms: tuple[str, ...] = FORMS
    haystack: Literal["noise", "needles"] | None = None


VARIANTS = {
    "single": Shape(),
    "multikey": Shape(keys=4),
    "multivalue": Shape(values=4),
    "multiquery": Shape(keys=4, asked=4),
}


def cases(variant: str, options: TaskOptions, count_tokens: CountTokens) -> Cases:
    """Every length with every depth, kind of value and sample."""
    task = f"niah/{variant}"
    source = load(options.haystack or "pydoc")
    plans = list(product(options.lengths, options.percents, KINDS, range(options.samples)))

    def make(plan: tuple[int, float, Kind, int]) -> Case:
        length, depth, kind, sample = plan
        key = f"{length}/{depth:g}/{kind}/{sample}"
        about = {"length": length, "depth": depth, "kind": kind, "variant": variant}
        shape = replace(VARIANTS[variant], value_kind=kind)
        return hide(shape, source, length, depth, options.rng(task, key), count_tokens, task=task, key=key, about=about)

    return Cases.of(plans, make, options)


def hide(
    shape: Shape,
    source: Haystack,
    length: int,
    depth: float,
    rng: random.Random,
    count_tokens: CountTokens,
    **named: Any,
) -> Case:
    """A text of ``length`` tokens with the needles of a shape; ``named`` are further fields of the case.

    Raises:
        InputError: the needles alone are as long as the text should be.
    """
    form, called = rng.choice(shape.forms), _CALLED[shape.value_kind]
    at_most = shape.keys * shape.values + length // _SHORTEST
    new_value = values(rng, shape.value_kind, at_most)
    new_key = names(rng, at_most) if shape.key_kind == "words" else values(rng, shape.key_kind, at_most)
    needles = [(key, next(new_value)) for key in islice(new_key, shape.keys) for _ in range(shape.values)]
    sentences = [form.format(kind=called, key=key, value=value) for key, value in needles]

    missing = length - count_tokens("\n".join(sentences))
    if missing < 1:
        raise InputError(f"a text of {length} tokens has no room for {len(sentences)} needles; ask for a longer one")
    if shape.haystack == "needles":
        others = (form.format(kind=called, key=key, value=next(new_value)) + "\n" for key in new_key)
        text = "".join(chain.from_iterable(take(others, missing, count_tokens)))
    else:
        text = source.text(missing, rng, count_tokens)
    depths = [depth, *(rng.uniform(0, 100) for _ in sentences[1:])]
    unit: Unit = "line" if shape.haystack == "needles" else "sentence"
    text, spans = plant(text.rstrip(), list(zip(depths, sentences, strict=True)), unit)

    asked = list(dict(needles))[: shape.asked]
    wanted = shape.asked * shape.values
    return Case(
        query=_question(called, asked, several=wanted > 1),
        text=text,
        gold=spans[np.argsort(spans[:wanted, 0])],
        answers=tuple(value for _, value in needles[:wanted]),
        instruction=Instruction.needles(),
        **named,
    )


def _question(called: str, keys: list[str], *, several: bool) -> str:
    if several:
        return f"What are all the special magic {called}s for {listed(keys)} that the text mentions?"
    return f"What is the special magic {called} for {listed(keys)} that the text mentions?"
