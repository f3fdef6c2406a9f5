"""Key-value retrieval: one pair of a large JSON object of random uuids ("Lost in the middle", LongLLMLingua).

A pair a line. Nothing but the key tells the wanted line from the others.
"""

from __future__ import annotations

from itertools import chain, product

import numpy as np

from ..errors import InputError
from ..instruction import Instruction
from .case import Case
from .haystack import take
from .options import Cases, CountTokens, TaskOptions
from .values import values

TASK = "kv"


def cases(options: TaskOptions, count_tokens: CountTokens) -> Cases:
    """Every length with every depth and sample.

    Raises:
        InputError: when a case is made: its length has no room for two pairs.
    """
    plans = list(product(options.lengths, options.percents, range(options.samples)))

    def make(plan: tuple[int, float, int]) -> Case:
        length, depth, sample = plan
        key = f"{length}/{depth:g}/{sample}"
        uuids = values(options.rng(TASK, key), "uuid", length)
        lines = (f'"{name}": "{value}",\n' for name, value in zip(uuids, uuids, strict=True))
        pairs = list(chain.from_iterable(take(lines, length, count_tokens)))
        if len(pairs) < 2:
            raise InputError(f"a text of {length} tokens has no room for two pairs of uuids; ask for a longer one")
        wanted = round(depth / 100 * (len(pairs) - 1))
        name, value = pairs[wanted].split('"')[1:4:2]
        start = len("{\n") + sum(map(len, pairs[:wanted]))
        return Case(
            TASK,
            key,
            query=f'Which value does the JSON object hold under the key "{name}"?',
            text="{\n" + "".join(pairs).removesuffix(",\n") + "\n}",
            gold=np.array([[start, start + len(pairs[wanted].removesuffix(",\n"))]]),
            answers=(value,),
            instruction=Instruction.needles(),
            about={"length": length, "depth": depth},
        )

    return Cases.of(plans, make, options)
