"""Records to training windows: a prefix, a text in which what matters is buried among distractors, and its labels.

The text is composed as characters, then tokenised and segmented as inference does it, so what the model trains on is what
it will see. Example ``i`` depends on the seed and on ``i`` alone: any number of workers gives the same data, and a resumed
run goes on exactly where it stopped.
"""

from __future__ import annotations

import copy
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InstructionError
from ..instruction import Instruction
from ..segments import segment
from ..tokens import TextTokenizer
from . import plain, tasks
from .augment import restyle, rewrap, swap_answer
from .embedding import SentenceTokenizer
from .labels import OUTSIDE, judge, label, tags
from .losses import IGNORE
from .phrases import choose_kind, in_two_tags, phrase, several_kinds, without
from .splits import GENERIC, Record

_SEPARATORS = ("\n\n", "\n\n", "\n\n", "\n")
_LONGEST_PARAGRAPH = 3000  # characters; more than this is no paragraph that anyone would keep whole


@dataclass(frozen=True)
class Mixture:
    """What windows are made of; all but lengths, tokens_per_batch and weights are shares from 0 to 1.

    Attributes:
        lengths: window lengths in tokens, and how often each is drawn.
        weights: how often a source is drawn, on top of the square root of its size.
        synthetic: made-up tasks. by_form, by_keywords: tasks that plain text gives (:mod:`.plain`).
        without_answer: windows whose evidence is left out.
        distractors: whether records are buried among other texts at all.
        own_source, same_document: distractors from the record's source, and from its own document.
        hard: distractors that are the one of several with most words of the query.
        restyle, swap_answers, rewrap: records in other words and shapes (:mod:`.augment`).
        answers, paragraphs: records that ask for exact words, or for whole paragraphs, where they can.
        two_tags: records with two tags at once. exceptions: queries that also say what to leave out.
    """

    lengths: dict[int, float] = field(default_factory=lambda: {256: 0.05, 512: 0.12, 1024: 0.25, 2048: 0.5, 4096: 0.08})
    tokens_per_batch: int = 32768
    weights: dict[str, float] = field(default_factory=dict)
    synthetic: float = 0.15
    by_form: float = 0.04
    by_keywords: float = 0.03
    without_answer: float = 0.12
    distractors: bool = True
    own_source: float = 0.8
    same_document: float = 0.3
    hard: float = 0.3
    restyle: float = 0.2
    swap_answers: float = 0.08
    rewrap: float = 0.05
    answers: float = 0.2
    paragraphs: float = 0.08
    two_tags: float = 0.05
    exceptions: float = 0.03


class Examples(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Batch ``i`` of training windows, made when asked for.

    Args:
        records: what to train on. texts: long plain texts to bury things in; may be empty.
        sentences: tokenises queries and sentences for a sentence teacher, if there is one.
    """

    def __init__(
        self,
        records: Sequence[Record],
        texts: Sequence[str],
        tokenizer: TextTokenizer,
        mixture: Mixture,
        seed: int,
        sentences: SentenceTokenizer | None = None,
    ) -> None:
        self.tokenizer, self.mixture, self.seed, self.sentences = tokenizer, mixture, seed, sentences
        self.texts = [text for text in texts if len(text) > 2000]
        counts = Counter(w for t in self.texts for w in re.findall(r"[A-Za-z]{4,9}", t[:300_000]))
        self.words = sorted(counts) or ["word"]
        self.frequent = frozenset(word.lower() for word, _ in counts.most_common(1000))
        self.by_source: dict[str, list[Record]] = defaultdict(list)
        self.by_doc: dict[tuple[str, str], list[Record]] = defaultdict(list)
        self.by_query: dict[tuple[str, str], list[Record]] = defaultdict(list)
        self.by_context: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for record in records:
            self.by_source[record["source"]].append(record)
            self.by_doc[record["source"], record["doc"]].append(record)
            if record["source"] in GENERIC:
                self.by_query[record["source"], record["query"]].append(record)
                self.by_context[record["source"], record["context"]].append(record)
        self.sources = list(self.by_source)
        self.source_weights = [len(v) ** 0.5 * mixture.weights.get(s, 1.0) for s, v in self.by_source.items()]

    @classmethod
    def like(cls, other: Examples, mixture: Mixture) -> Examples:
        """The same records and texts in another mixture."""
        new = copy.copy(other)
        new.mixture = mixture
        return new

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = random.Random(f"{self.seed}/{index}")
        length = rng.choices(list(self.mixture.lengths), list(self.mixture.lengths.values()))[0]
        count = max(1, self.mixture.tokens_per_batch // length)
        examples = [self.example(rng, length) for _ in range(count)]
        batch = collate(examples, length)
        if self.sentences:
            batch |= self.sentences([example["texts"] for example in examples], batch["relevant"].shape[1])
        return batch

    def example(self, rng: random.Random, length: int) -> dict[str, Any]:
        """One window of at most ``length`` tokens."""
        characters = int(length * 4.5)  # English text has about 4.3 characters a token; the rest is cropped
        task = self._unlabelled(rng, characters) or self._labelled(rng, characters)
        if rng.random() < self.mixture.rewrap:
            task = replace(task, text=rewrap(rng, task.text))
        return self._window(rng, length, task)

    def _unlabelled(self, rng: random.Random, characters: int) -> tasks.Task | None:
        """A task that needs no record; None if it is a record's turn, or the text at hand gives no such task."""
        mixture, turn = self.mixture, rng.random()
        if turn < mixture.synthetic and self.texts:
            task = tasks.one_of_all(rng, self._filler(rng, rng.randint(characters // 4, characters)), self.words)
            return task if rng.random() < 0.8 else replace(task, kind="sentences")
        if turn < mixture.synthetic + mixture.by_form:
            return plain.by_form(rng, self._any_text(rng, characters))
        if turn < mixture.synthetic + mixture.by_form + mixture.by_keywords:
            return plain.by_keywords(rng, self._any_text(rng, characters), self.frequent)
        return None

    def _labelled(self, rng: random.Random, characters: int) -> tasks.Task:
        mixture = self.mixture
        source = rng.choices(self.sources, self.source_weights)[0]
        record = rng.choice(self.by_source[source])
        kind = choose_kind(rng, record, mixture.answers, mixture.paragraphs)
        if source in GENERIC:
            return self._repeat(rng, record, kind, characters)
        if rng.random() < mixture.restyle:
            record = {**record, "query": restyle(rng, record["query"])}
        if rng.random() < mixture.swap_answers:
            record = swap_answer(rng, record, self.by_source[source])
        task = _task(record, kind)
        if kind == "sentences" and rng.random() < mixture.two_tags:
            task = in_two_tags(rng, task, record)
        return self._bury(rng, record, task, characters) if mixture.distractors else task

    def _bury(self, rng: random.Random, record: Record, task: tasks.Task, characters: int) -> tasks.Task:
        """The task's text, whole or around its spans, shuffled among other texts; or, at times, those alone."""
        absent = rng.random() < self.mixture.without_answer
        pieces = [] if absent else [_around(rng, task, characters)]
        if rng.random() < self.mixture.exceptions:
            other = rng.choice(self.by_source[record["source"]])
            if other["doc"] != record["doc"] and other["query"] != record["query"]:
                task = replace(task, query=without(rng, task.query, other["query"]))
                pieces.append(replace(_around(rng, _task(other, "sentences"), characters // 2), spans=[]))
        used = sum(len(piece.text) for piece in pieces)
        answers = [answer.lower() for answer in record["answers"] if len(answer) > 2]
        asked = {word for word in re.findall(r"\w{4,}", record["query"].lower()) if word not in self.frequent}
        for _ in range(60):
            if used >= characters:
                break
            choices = [self._distractor(rng, record) for _ in range(4 if rng.random() < self.mixture.hard else 1)]
            texts = [text for text in choices if text and not any(answer in text.lower() for answer in answers)]
            if texts:
                text = max(texts, key=lambda text: _overlap(text, asked)) if len(texts) > 1 else texts[0]
                pieces.append(tasks.Task(task.query, text))
                used += len(text)
        rng.shuffle(pieces)
        return _joined(rng, task, pieces)

    def _repeat(self, rng: random.Random, record: Record, kind: str, characters: int) -> tasks.Task:
        """Contexts that were asked the same, each with its own spans: other texts could hold matches unlabelled."""
        if kind == "entities" and rng.random() < self.mixture.two_tags:
            same_context = self.by_context[record["source"], record["context"]]
            several = several_kinds(rng, same_context)
            if several and self._can_tell(several.instruction):
                return _around(rng, several, characters)
        same = self.by_query[record["source"], record["query"]]
        task = _task(record, kind)
        pieces, used = [_around(rng, task, characters)], len(record["context"])
        for other in rng.sample(same, min(len(same), 40)):
            if used >= characters:
                break
            if other["context"] != record["context"]:
                pieces.append(_task(other, kind))
                used += len(other["context"])
        rng.shuffle(pieces)
        return _joined(rng, task, pieces)

    def _distractor(self, rng: random.Random, record: Record) -> str | None:
        if self.texts and rng.random() > self.mixture.own_source:
            return self._filler(rng, rng.randint(300, 3000))
        pool = self.by_doc[record["source"], record["doc"]] if rng.random() < self.mixture.same_document else []
        other = rng.choice(pool if len(pool) > 3 else self.by_source[record["source"]])
        if other["context"] == record["context"] or (other["query"] == record["query"] and other["spans"]):
            return None
        return _cut(rng, other["context"], rng.randint(300, 3000))

    def _any_text(self, rng: random.Random, characters: int) -> str:
        """Plain text of about so many characters, from a long text or from contexts of one source."""
        if self.texts and rng.random() < 0.3:
            return self._filler(rng, characters)
        records, text = self.by_source[rng.choice(self.sources)], ""
        while len(text) < characters:
            text += _cut(rng, rng.choice(records)["context"], 3000) + "\n\n"
        return text[:characters]

    def _can_tell(self, instruction: Instruction | None) -> bool:
        """Whether the tags of an instruction differ for this tokenizer, which sees the first token of each."""
        try:
            return instruction is None or len(self.tokenizer.tag_ids(instruction.tags)) > 0
        except InstructionError:
            return False

    def _filler(self, rng: random.Random, size: int) -> str:
        return _cut(rng, rng.choice(self.texts), size)

    def _window(self, rng: random.Random, length: int, task: tasks.Task) -> dict[str, Any]:
        """Tokenises, crops to the window's length around something that matters, labels."""
        instruction = task.instruction or phrase(rng, task.kind, task.query)
        prefix = self.tokenizer.prefix(instruction.render(task.query))[: length // 2]
        tokens = self.tokenizer(task.text)
        room = length - len(prefix)
        first = 0
        if len(tokens) > room:
            hits = np.flatnonzero(tags(tokens.starts, tokens.ends, task.spans) != OUTSIDE)
            focus = int(rng.choice(hits)) if len(hits) and rng.random() < 0.95 else rng.randrange(len(tokens))
            first = min(max(0, focus - rng.randrange(room)), len(tokens) - room)
        starts, ends = tokens.starts[first : first + room], tokens.ends[first : first + room]
        spans = task.spans + (_unresolved(task, int(starts[0]), int(ends[-1])) if len(starts) else [])
        ranges = [(start, end) for start, end, _ in spans]
        sentences, relevant, texts = judge(task.text, ranges, starts, ends)
        if instruction.unit == "word":
            relevant[:] = -1  # a sentence is not what is asked for
        return {
            "input_ids": np.concatenate([prefix, tokens.ids[first : first + room]]),
            "labels": np.concatenate([np.full(len(prefix), IGNORE), label(starts, ends, ranges)]),
            "tags": np.concatenate([np.full(len(prefix), IGNORE), tags(starts, ends, spans)]),
            "sentences": np.concatenate([np.zeros(len(prefix), np.int64), sentences]),
            "relevant": relevant,
            "tag_ids": self.tokenizer.tag_ids(instruction.tags),
            "texts": [task.query, *texts],
        }


def collate(examples: Sequence[dict[str, Any]], length: int) -> dict[str, Tensor]:
    """Pads to ``length``. Windows are nearly always full; a short one goes without a mask, its padding unlabelled at the
    end, because one mask would take the whole batch off the fast attention kernels."""
    columns = max(len(example["tag_ids"]) for example in examples)
    sentences = max(len(example["relevant"]) for example in examples)
    sentences = -(-sentences // 128) * 128  # few shapes, few compilations
    batch = {
        "input_ids": np.zeros((len(examples), length), np.int64),
        "labels": np.full((len(examples), length), IGNORE),
        "tags": np.full((len(examples), length), IGNORE),
        "sentences": np.zeros((len(examples), length), np.int64),
        "relevant": np.full((len(examples), sentences), -1),
        "tag_ids": np.full((len(examples), columns), -1),
    }
    for row, example in enumerate(examples):
        for name, array in batch.items():
            if name == "tag_ids":  # "outside" stays last
                array[row, : len(example[name]) - 1] = example[name][:-1]
                array[row, -1] = example[name][-1]
            else:
                array[row, : len(example[name])] = example[name]
    batch["tags"][batch["tags"] == OUTSIDE] = columns - 1
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def _task(record: Record, kind: str) -> tasks.Task:
    """What a record says about one kind of span."""
    text = record["context"]
    wanted = "answer" if kind in ("answer", "entities") else "evidence"
    spans = [(start, end, 0) for start, end, tag in record["spans"] if tag == wanted]
    if kind == "paragraphs":
        units = segment(text, "paragraph").tolist()
        whole = [(s, e, 0) for s, e in units if any(start < e and end > s for start, end, _ in spans)]
        if any(end - start > _LONGEST_PARAGRAPH for start, end, _ in whole):
            kind = "sentences"
        else:
            spans = whole
    return tasks.Task(record["query"], text, spans, kind)


def _around(rng: random.Random, task: tasks.Task, characters: int) -> tasks.Task:
    """The task's text, or a piece of at most ``characters`` of it that holds a random span."""
    if len(task.text) <= characters:
        return task
    focus = rng.choice(task.spans)[0] if task.spans else rng.randrange(len(task.text))
    start = min(max(0, focus - rng.randrange(characters)), len(task.text) - characters)
    start = task.text.rfind(" ", 0, start + 1) + 1
    end = start + characters
    spans = [(max(s, start) - start, min(e, end) - start, tag) for s, e, tag in task.spans if s < end and e > start]
    return replace(task, text=task.text[start:end], spans=spans)


def _joined(rng: random.Random, task: tasks.Task, pieces: Sequence[tasks.Task]) -> tasks.Task:
    """The pieces one after the other, as one task like ``task``."""
    text, spans, separator = "", [], rng.choice(_SEPARATORS)
    for piece in pieces:
        spans += [(start + len(text), end + len(text), tag) for start, end, tag in piece.spans]
        text += piece.text + separator
    return replace(task, text=text, spans=spans)


def _cut(rng: random.Random, text: str, size: int) -> str:
    """A random piece of at most ``size`` characters, from a word's start on: cut words teach nothing."""
    if len(text) <= size:
        return text
    start = rng.randint(0, len(text) - size)
    piece = text[start : start + size]
    return piece if start == 0 else piece[piece.find(" ") + 1 :]


def _unresolved(task: tasks.Task, start: int, end: int) -> list[tasks.Span]:
    """Statements of rival chains that may be the wanted one's for all that a window from ``start`` to ``end`` shows: it
    lacks the first statement of both. Better keep both than lose the wanted one."""
    if not task.rivals or not task.spans or start <= task.spans[0][0] < end:
        return []
    return [span for chain in task.rivals if chain[0][0] < start for span in chain]


def _overlap(text: str, words: set[str]) -> int:
    lowered = text.lower()
    return sum(word in lowered for word in words)


def steps(start: int, stop: int, rank: int, world: int) -> Iterator[int]:
    """The batches that one process of ``world`` makes for steps ``start`` to ``stop``."""
    return iter(range(start * world + rank, stop * world, world))
