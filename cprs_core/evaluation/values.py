"""Made-up keys and values that no text holds by chance: names, phrases, numbers and uuids, each given out once."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from string import ascii_lowercase
from typing import Literal

Kind = Literal["number", "words", "uuid"]
KINDS: tuple[Kind, ...] = ("number", "words", "uuid")

_FIRST = """
    agile amber ancient azure bashful bitter blazing bold brave brisk bronze calm candid cheerful chilly clever cobalt
    copper cosmic crimson curious dapper daring dusty eager earnest elegant faded fallow famous fearless fierce floral
    frosty gentle gilded glossy golden graceful hardy hasty hazel hollow honest humble icy indigo ivory jagged jolly
    keen kind lavish leafy lively lofty loyal lucid lunar mellow merry mighty misty modest mossy narrow nimble noble
    opal pale patient plucky polished proud quaint quiet rapid rustic sandy scarlet serene silent silver sleepy solar
    spotted steady stormy sturdy swift tidy tranquil velvet vivid wandering wild witty woven zealous
""".split()
_SECOND = """
    acorn anchor anvil badger basil beacon bison bramble bridge brook candle canyon caravan cedar cherry cinder clover
    comet compass coral cottage crane cricket dagger daisy dolphin drum dynamo eagle ember falcon feather fern fiddle
    finch garnet geyser glacier goblet granite harbor hazelnut heron hornet island jasmine juniper kettle lagoon
    lantern lark ledger lemon lobster locket magnet maple marble meadow mirror nectar nickel nutmeg oasis orchard
    otter oyster paddle parrot pebble pepper piano pigeon plum prairie puzzle quarry rabbit raven ribbon river rocket
    saddle salmon sparrow spindle sundial teapot thimble thistle tiger trumpet tulip tunnel turnip violin walnut
    whistle willow window
""".split()


def values(rng: random.Random, kind: Kind, at_most: int) -> Iterator[str]:
    """A row of different values, ``at_most`` of them or more.

    number  seven digits, or as many as it takes
    words   ``brisk lantern``, with as many words as ``at_most`` different phrases take
    uuid    a random one, version 4
    """
    if kind == "words":
        return (name.replace("-", " ") for name in names(rng, at_most))
    if kind == "uuid":
        return _different(lambda: str(uuid.UUID(int=rng.getrandbits(128), version=4)), 2**122)
    least = 10 ** max(6, len(str(at_most)))
    return _different(lambda: str(rng.randrange(least, 10 * least)), 9 * least)


def names(rng: random.Random, at_most: int) -> Iterator[str]:
    """A row of different names such as ``brisk-lantern``, ``at_most`` of them or more; none is part of another.

    All have the same number of words: as many as give so many names.
    """
    firsts, space = 1, len(_FIRST) * len(_SECOND)
    while space < 2 * at_most:  # more than half of a space would be slow to draw
        firsts, space = firsts + 1, space * len(_FIRST)
    return _different(lambda: "-".join([*rng.choices(_FIRST, k=firsts), rng.choice(_SECOND)]), space)


def coded_words(rng: random.Random, letters: int) -> Iterator[str]:
    """A row of different words of so many random letters, 26 ** letters of them."""
    return _different(lambda: "".join(rng.choices(ascii_lowercase, k=letters)), 26**letters)


def listed(items: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


def _different(draw: Callable[[], str], space: int) -> Iterator[str]:
    """What ``draw`` draws, less what it drew before, until it has drawn all of ``space`` values."""
    seen: set[str] = set()
    while len(seen) < space:
        value = draw()
        if value not in seen:
            seen.add(value)
            yield value
