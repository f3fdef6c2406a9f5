"""Made-up tasks in real text: needles, pass keys, key-value pairs, assignment chains and tables, in ever-changing formats.

A task returns the query, the text and the character spans that matter. Whatever is fixed in a format, a model learns by
heart; so sentence forms, key and value kinds, counts, separators and distractor needles all vary.
"""

from __future__ import annotations

import random
import re
import string
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..instruction import Instruction

_NEEDLES = (
    "One of the special magic {noun}s for {key} is: {value}.",
    "The special magic {noun} for {key} is: {value}.",
    "The {noun} for {key} is {value}.",
    "{key}'s {noun} is {value}.",
    "Note: {noun} of {key} = {value}.",
    "Remember that the {noun} assigned to {key} was {value}.",
    "For {key}, use the {noun} {value}.",
    "{value} is the {noun} that belongs to {key}.",
    "The {noun} is {value} for {key}.",
)
_QUESTIONS = (
    "What is the special magic {noun} for {key} mentioned in the provided text?",
    "What are all the special magic {noun}s for {key} mentioned in the provided text?",
    "What is the {noun} for {key}?",
    "Find the {noun} of {key}.",
    "Which {noun} belongs to {key}?",
    "{noun} of {key}",
)
_PASS_KEYS = (
    ("The pass key is {value}. Remember it. {value} is the pass key.", "What is the pass key?"),
    ("The secret code is {value}. Do not forget it.", "What is the secret code mentioned in the text?"),
    ("By the way, the door opens with {value}.", "Which code opens the door?"),
    ("The best thing to remember today is the word {value}.", "What is the word to remember?"),
)
_ROWS = (("", " | ", ""), ("| ", " | ", " |"), ("", ",", ""), ("", "\t", ""), ("", "   ", ""))
_CORNERS = ("Item", "Name", "Year ended", "In thousands", "Figures")
_OF_A_CELL = (
    "What was the {row} in {column}?",
    "How much {row} was there in {column}?",
    "{row} {column}",
    "Give the figure for {row} under {column}.",
)
_OF_A_ROW = ("How did {row} change?", "What are the figures for {row}?", "{row}")
_VALUE_NOUNS = {
    "number": ("number", "code", "pin", "identifier", "secret number"),
    "word": ("word", "password", "code word", "keyword"),
    "uuid": ("uuid", "token", "identifier", "access key", "serial"),
}


Span = tuple[int, int, int]
"""Start and end in characters, and which of the instruction's tags it has."""


@dataclass
class Task:
    """A query over a text, and what of the text it is about.

    Attributes:
        kind: the preset whose kind of span is asked for. instruction: how it is asked for; None = any phrase of the kind.
        rivals: other chains of statements, which only their first one tells from the wanted chain.
    """

    query: str
    text: str = ""
    spans: list[Span] = field(default_factory=list)
    kind: str = "sentences"
    instruction: Instruction | None = None
    rivals: list[list[Span]] = field(default_factory=list)

    def add(self, text: str, relevant: bool = False) -> None:
        if relevant:
            self.spans.append(self.place(text))
        self.text += text

    def place(self, text: str) -> Span:
        """Where the text will stand if it is added now."""
        return len(self.text), len(self.text) + len(text.rstrip()), 0


def needles(rng: random.Random, filler: str, words: Sequence[str]) -> Task:
    """One to many keys with one to many values each; the query asks for some of the keys."""
    value_kind = rng.choice(list(_VALUE_NOUNS))
    noun, form = rng.choice(_VALUE_NOUNS[value_kind]), rng.choice(_NEEDLES)
    keys = list({_key(rng, words) for _ in range(rng.choice([1, 1, 2, 3, 5, 12]))})
    wanted = rng.sample(keys, min(len(keys), rng.choice([1, 1, 1, 2, 3])))
    each = rng.choice([1, 1, 1, 2, 4])
    lines = [
        (key, form.format(noun=noun, key=key, value=_value(rng, value_kind, words))) for key in keys for _ in range(each)
    ]
    if rng.random() < 0.1:  # the asked key is not there
        lines = [(key, line) for key, line in lines if key not in wanted]
    query = rng.choice(_QUESTIONS).format(noun=noun, key=_list(wanted))
    return _scatter(rng, query, filler, [(line, 0 if key in wanted else None) for key, line in lines])


def pass_key(rng: random.Random, filler: str, words: Sequence[str]) -> Task:
    """A remark that has nothing to do with the text around it."""
    form, query = rng.choice(_PASS_KEYS)
    kind = "word" if "word" in form else rng.choice(["number", "number", "uuid"])
    return _scatter(rng, query, filler, [(form.format(value=_value(rng, kind, words)), 0)])


def key_values(rng: random.Random, filler: str, words: Sequence[str]) -> Task:
    """Pairs of random strings, one a line, as JSON, YAML, a table or a list; the query asks for one key."""
    kind = rng.choice(["uuid", "uuid", "number", "word"])
    pairs = [(_value(rng, kind, words), _value(rng, kind, words)) for _ in range(rng.randint(5, max(6, len(filler) // 90)))]
    wanted, _ = rng.choice(pairs)
    form = rng.choice(['"{}": "{}",', "{}: {}", "| {} | {} |", "- {} = {}", '{{"key": "{}", "value": "{}"}}'])
    query = rng.choice(["What is the value of the key {}?", 'Extract the value for "{}".', "{}"]).format(wanted)
    task = Task(query, kind="needles")
    for key, value in pairs:
        task.add(form.format(key, value) + "\n", relevant=key == wanted)
    return task


def tables(rng: random.Random, filler: str, words: Sequence[str]) -> Task:
    """One to three tables of figures between paragraphs; the query asks for a cell, or for a whole row. What matters is
    the row, and the line above it that says what its columns are."""
    forms = [rng.choice(_ROWS) for _ in range(rng.choice([1, 1, 2, 3]))]
    made = [_table(rng, words) for _ in forms]
    (columns, rows), asked = made[0], rng.randrange(len(made[0][1]))
    question = rng.choice(_OF_A_CELL if rng.random() < 0.75 else _OF_A_ROW)
    query = question.format(row=rows[asked][0].lower(), column=rng.choice(columns))
    task, pieces = Task(query), re.split(r"(?<=\n)", filler)
    order = list(range(len(made)))
    rng.shuffle(order)
    places = sorted(rng.randint(0, len(pieces)) for _ in order)
    last = 0
    for place, number in zip(places, order, strict=True):
        task.add("".join(pieces[last:place]).rstrip() + "\n\n")
        last = place
        (columns, rows), (before, between, after) = made[number], forms[number]
        lines = [[rng.choice(_CORNERS), *columns], *([name, *cells] for name, cells in rows)]
        for index, cells in enumerate(lines):
            bare = [cell.replace(between, "") for cell in cells]  # "1,000" in comma-separated values
            task.add(before + between.join(bare) + after, relevant=number == 0 and index in (0, asked + 1))
            task.add("\n")
            if index == 0 and before:  # Markdown
                task.add("|" + "---|" * len(cells) + "\n")
        task.add("\n")
    task.add("".join(pieces[last:]))
    return task


def _table(rng: random.Random, words: Sequence[str]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Headings, and rows of a name and a figure for each heading."""
    first = rng.randint(1950, 2030)
    kinds = (
        [str(first + step) for step in range(5)],
        [f"Q{quarter} {first}" for quarter in range(1, 5)],
        ["January", "February", "March", "April", "May", "June"],
        [_word(rng, words).capitalize() for _ in range(6)],
    )
    columns = rng.choice(kinds)[: rng.randint(2, 6)]
    names = list(dict.fromkeys(" ".join(_word(rng, words) for _ in range(rng.choice([1, 2, 2, 3]))) for _ in range(14)))
    form = rng.choice(["{:,}", "{:,}", "${:,}", "{:,}.5", "{}%"])
    return columns, [
        (name.capitalize(), [form.format(rng.randint(1, 10 ** rng.randint(1, 6))) for _ in columns])
        for name in names[: rng.randint(3, 14)]
    ]


def chains(rng: random.Random, filler: str, words: Sequence[str]) -> Task:
    """Variables assigned from each other over several hops; the query asks for all that lead back to one value."""
    names: set[str] = set()

    def name() -> str:
        new = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(3, 6)))
        names.add(new)
        return new if rng.random() < 0.8 else f"{new.lower()}_{rng.randint(1, 9)}"

    form = rng.choice(["VAR {} = {}", "VAR {} = {}", "{} = {}", "let {} = {};", "set {} to {}"])
    refer = "VAR {}" if form.startswith("VAR") else "{}"
    lines: list[list[str]] = []
    values = rng.sample(range(10000, 99999), rng.choice([1, 1, 2, 3, 4]))
    for value in values:
        chain = [name() for _ in range(rng.randint(2, 7))]
        right = [str(value), *(refer.format(variable) for variable in chain)]
        lines.append([form.format(left, source) for left, source in zip(chain, right, strict=False)])
    queue = [index for index, chain in enumerate(lines) for _ in chain]
    rng.shuffle(queue)
    iterators = [iter(chain) for chain in lines]
    query = rng.choice(
        ["Find all variables that are assigned the value {}.", "Which variables hold the value {} in the text above?"]
    )
    end = rng.choice([".", "", "\n"])
    return _scatter(rng, query.format(values[0]), filler, [(next(iterators[i]) + end, i) for i in queue], "chains")


def _scatter(
    rng: random.Random, query: str, filler: str, lines: list[tuple[str, int | None]], kind: str = "needles"
) -> Task:
    """Puts the lines, in order, between sentences of the filler, or on lines of their own. Group 0 of them is wanted, the
    other numbered groups are its rivals."""
    pieces = re.split(r"(?<=[.!?\n]) +|(?<=\n)", filler)
    places = sorted(rng.randint(0, len(pieces)) for _ in lines)
    own_line = rng.random() < 0.3
    task, last = Task(query, kind=kind), 0
    rivals: dict[int, list[Span]] = {}
    for place, (line, group) in zip(places, lines, strict=True):
        for piece in pieces[last:place]:
            task.add(piece if piece.endswith("\n") else piece + " ")
        if own_line and not task.text.endswith("\n"):
            task.add("\n")
        if group:
            rivals.setdefault(group, []).append(task.place(line))
        task.add(line.rstrip("\n"), group == 0)
        task.add("\n" if own_line or line.endswith("\n") else " ")
        last = place
    for piece in pieces[last:]:
        task.add(piece if piece.endswith("\n") else piece + " ")
    task.rivals = list(rivals.values())
    return task


def _key(rng: random.Random, words: Sequence[str]) -> str:
    if rng.random() < 0.15:
        return _value(rng, rng.choice(["number", "uuid"]), words)
    return rng.choice(["-", "-", " ", "_"]).join(_word(rng, words) for _ in range(rng.choice([1, 2, 2, 2, 3])))


def _value(rng: random.Random, kind: str, words: Sequence[str]) -> str:
    if kind == "number":
        digits = rng.choice([3, 5, 7, 7, 9])
        return str(rng.randint(10 ** (digits - 1), 10**digits - 1))
    if kind == "uuid":
        return str(uuid.UUID(int=rng.getrandbits(128), version=4))[: rng.choice([36, 36, 13])]
    return rng.choice(["-", "-", ""]).join(_word(rng, words) for _ in range(rng.choice([1, 2, 2])))


def _word(rng: random.Random, words: Sequence[str]) -> str:
    if rng.random() < 0.3:
        return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(4, 9)))
    return rng.choice(words).lower()


def _list(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


Maker = Callable[[random.Random, str, Sequence[str]], Task]
TASKS: dict[str, tuple[Maker, int]] = {
    "needles": (needles, 5),
    "pass_key": (pass_key, 1),
    "key_values": (key_values, 1),
    "chains": (chains, 3),
    "tables": (tables, 1),
}
"""The tasks by name, and how often each is drawn."""


def one_of_all(rng: random.Random, filler: str, words: Sequence[str]) -> Task:
    """A random one of them."""
    make = rng.choices([make for make, _ in TASKS.values()], [often for _, often in TASKS.values()])[0]
    return make(rng, filler, words)
