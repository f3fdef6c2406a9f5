"""Records to training windows: a prefix, a text in which what matters is buried among distractors, and its labels.

The text is composed as characters, then tokenised and segmented as inference does it, so what the model trains on is what
it will see. Example ``i`` depends on the seed and on ``i`` alone: any number of workers gives the same data, and a resumed
run goes on exactly where it stopped.
"""

from __future__ import annotations

import copy
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..segments import segment
from ..spans import B, E, I, O
from ..tokens import TextTokenizer
from . import tasks
from .losses import IGNORE
from .phrases import choose_kind, phrase
from .splits import GENERIC, Record

_TASK_KINDS = {"needles": "needles", "pass_key": "needles", "key_values": "needles", "chains": "chains"}
_SEPARATORS = ("\n\n", "\n\n", "\n\n", "\n")


@dataclass(frozen=True)
class Mixture:
    """What windows are made of.

    Attributes:
        lengths: window lengths in tokens, and how often each is drawn.
        synthetic: share of made-up tasks. without_answer: share of windows whose evidence is left out.
        own_source, same_document: shares of distractors from the record's source, and from its own document.
        weights: how often a source is drawn, on top of the square root of its size.
        distractors: whether records are buried among other texts at all.
    """

    lengths: dict[int, float] = field(default_factory=lambda: {512: 0.1, 1024: 0.25, 2048: 0.65})
    tokens_per_batch: int = 32768
    synthetic: float = 0.15
    without_answer: float = 0.12
    own_source: float = 0.8
    same_document: float = 0.3
    weights: dict[str, float] = field(default_factory=dict)
    distractors: bool = True


class Examples(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Batch ``i`` of training windows, made when asked for.

    Args:
        records: what to train on. texts: long plain texts to bury things in; may be empty.
    """

    def __init__(
        self, records: Sequence[Record], texts: Sequence[str], tokenizer: TextTokenizer, mixture: Mixture, seed: int
    ) -> None:
        self.tokenizer, self.mixture, self.seed = tokenizer, mixture, seed
        self.texts = [text for text in texts if len(text) > 2000]
        self.words = sorted({w for t in self.texts for w in re.findall(r"[A-Za-z]{4,9}", t[:300_000])}) or ["word"]
        self.by_source: dict[str, list[Record]] = defaultdict(list)
        self.by_doc: dict[tuple[str, str], list[Record]] = defaultdict(list)
        self.by_query: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for record in records:
            self.by_source[record["source"]].append(record)
            self.by_doc[record["source"], record["doc"]].append(record)
            if record["source"] in GENERIC:
                self.by_query[record["source"], record["query"]].append(record)
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
        return collate([self.example(rng, length) for _ in range(count)], length)

    def example(self, rng: random.Random, length: int) -> dict[str, Any]:
        """One window of at most ``length`` tokens."""
        characters = int(length * 4.5)  # English text has about 4.3 characters a token; the rest is cropped
        if self.texts and rng.random() < self.mixture.synthetic:
            name, task = tasks.one_of_all(rng, self._filler(rng, rng.randint(characters // 4, characters)), self.words)
            kind = _TASK_KINDS[name] if rng.random() < 0.8 else "sentences"
            return self._window(rng, length, kind, task)
        source = rng.choices(self.sources, self.source_weights)[0]
        record = rng.choice(self.by_source[source])
        kind = choose_kind(rng, record)
        if source in GENERIC:
            task = self._repeat(rng, record, kind, characters)
        elif self.mixture.distractors:
            task = self._bury(rng, record, kind, characters)
        else:
            task = _task(record, kind)
        return self._window(rng, length, kind, task)

    def _bury(self, rng: random.Random, record: Record, kind: str, characters: int) -> tasks.Task:
        """The record's context, whole or around its spans, shuffled among other texts; or, at times, those alone."""
        absent = rng.random() < self.mixture.without_answer
        own = tasks.Task(record["query"]) if absent else _around(rng, _task(record, kind), characters)
        pieces, used = [own] if own.text else [], len(own.text)
        answers = [answer.lower() for answer in record["answers"] if len(answer) > 2]
        for _ in range(60):
            if used >= characters:
                break
            text = self._distractor(rng, record)
            if text is None or any(answer in text.lower() for answer in answers):
                continue
            pieces.append(tasks.Task(record["query"], text))
            used += len(text)
        rng.shuffle(pieces)
        return _joined(rng, record["query"], pieces)

    def _repeat(self, rng: random.Random, record: Record, kind: str, characters: int) -> tasks.Task:
        """Contexts that were asked the same, each with its own spans: other texts could hold matches unlabelled."""
        same = self.by_query[record["source"], record["query"]]
        pieces, used = [_around(rng, _task(record, kind), characters)], len(record["context"])
        for other in rng.sample(same, min(len(same), 40)):
            if used >= characters:
                break
            if other["context"] != record["context"]:
                pieces.append(_task(other, kind))
                used += len(other["context"])
        rng.shuffle(pieces)
        return _joined(rng, record["query"], pieces)

    def _distractor(self, rng: random.Random, record: Record) -> str | None:
        if self.texts and rng.random() > self.mixture.own_source:
            return self._filler(rng, rng.randint(300, 3000))
        pool = self.by_doc[record["source"], record["doc"]] if rng.random() < self.mixture.same_document else []
        other = rng.choice(pool if len(pool) > 3 else self.by_source[record["source"]])
        if other["context"] == record["context"] or (other["query"] == record["query"] and other["spans"]):
            return None
        text, size = other["context"], rng.randint(300, 3000)
        if len(text) <= size:
            return text
        start = rng.randint(0, len(text) - size)
        return _trim(text, start, start + size)

    def _filler(self, rng: random.Random, size: int) -> str:
        text = rng.choice(self.texts)
        start = rng.randint(0, max(0, len(text) - size))
        return _trim(text, start, start + size)

    def _window(self, rng: random.Random, length: int, kind: str, task: tasks.Task) -> dict[str, Any]:
        """Tokenises, crops to the window's length around something that matters, labels."""
        instruction = phrase(rng, kind, task.query)
        prefix = self.tokenizer.prefix(instruction.render(task.query))[: length // 2]
        tokens = self.tokenizer(task.text)
        labels = label(tokens.starts, tokens.ends, task.spans)
        sentences, relevant = _sentences(task, tokens.starts, tokens.ends)
        if kind in ("answer", "entities", "chains"):
            relevant[:] = -1  # a sentence is not what they ask for
        room = length - len(prefix)
        start = 0
        if len(tokens) > room:
            hits = np.flatnonzero(labels != O)
            focus = int(rng.choice(hits)) if len(hits) and rng.random() < 0.95 else rng.randrange(len(tokens))
            start = min(max(0, focus - rng.randrange(room)), len(tokens) - room)
        part = slice(start, start + room)
        sentences, relevant = _renumber(sentences[part], relevant)
        return {
            "input_ids": np.concatenate([prefix, tokens.ids[part]]),
            "labels": np.concatenate([np.full(len(prefix), IGNORE), labels[part]]),
            "sentences": np.concatenate([np.zeros(len(prefix), np.int64), sentences]),
            "relevant": relevant,
            "tag_ids": self.tokenizer.tag_ids(instruction.tags),
        }


def label(starts: np.ndarray, ends: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """B/I/O/E ids [n] of tokens for character spans. A span of one token is a lone B; overlapping spans are one."""
    labels = np.full(len(starts), O, dtype=np.int64)
    for start, end in merge_spans(spans):
        first = int(np.searchsorted(ends, start, side="right"))
        last = int(np.searchsorted(starts, end, side="left"))
        if last > first:
            labels[first:last] = I
            labels[last - 1] = E
            labels[first] = B
    return labels


def merge_spans(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted, overlapping ones joined."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def collate(examples: Sequence[dict[str, Any]], length: int) -> dict[str, Tensor]:
    """Pads to ``length``. Windows are nearly always full; a short one goes without a mask, its padding unlabelled at the
    end, because one mask would take the whole batch off the fast attention kernels."""
    tags = max(len(example["tag_ids"]) for example in examples)
    sentences = max(len(example["relevant"]) for example in examples)
    sentences = -(-sentences // 128) * 128  # few shapes, few compilations
    batch = {
        "input_ids": np.zeros((len(examples), length), np.int64),
        "labels": np.full((len(examples), length), IGNORE),
        "sentences": np.zeros((len(examples), length), np.int64),
        "relevant": np.full((len(examples), sentences), -1),
        "tag_ids": np.full((len(examples), tags), -1),
    }
    for row, example in enumerate(examples):
        for name, array in batch.items():
            if name == "tag_ids":  # "outside" stays last
                array[row, : len(example[name]) - 1] = example[name][:-1]
                array[row, -1] = example[name][-1]
            else:
                array[row, : len(example[name])] = example[name]
    batch["tags"] = np.where(batch["labels"] == IGNORE, IGNORE, np.where(batch["labels"] == O, tags - 1, 0))
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def _task(record: Record, kind: str) -> tasks.Task:
    wanted = {"answer": "answer", "entities": "answer"}.get(kind, "evidence")
    spans = [(start, end) for start, end, tag in record["spans"] if tag == wanted]
    if kind == "paragraphs" and spans:
        spans = [(0, len(record["context"]))]
    return tasks.Task(record["query"], record["context"], spans)


def _around(rng: random.Random, task: tasks.Task, characters: int) -> tasks.Task:
    """The task's text, or a piece of at most ``characters`` of it that holds a random span."""
    if len(task.text) <= characters:
        return task
    focus = rng.choice(task.spans)[0] if task.spans else rng.randrange(len(task.text))
    start = min(max(0, focus - rng.randrange(characters)), len(task.text) - characters)
    start = task.text.rfind(" ", 0, start + 1) + 1
    end = start + characters
    spans = [(max(s, start) - start, min(e, end) - start) for s, e in task.spans if s < end and e > start]
    return tasks.Task(task.query, task.text[start:end], spans)


def _joined(rng: random.Random, query: str, pieces: Sequence[tasks.Task]) -> tasks.Task:
    whole, separator = tasks.Task(query), rng.choice(_SEPARATORS)
    for piece in pieces:
        start = len(whole.text)
        whole.text += piece.text + separator
        whole.spans += [(s + start, e + start) for s, e in piece.spans]
    return whole


def _trim(text: str, start: int, end: int) -> str:
    """``text[start:end]`` from a word's start on; cut words teach nothing."""
    piece = text[start:end]
    return piece if start == 0 else piece[piece.find(" ") + 1 :]


def _sentences(task: tasks.Task, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each token the number of its sentence (from 1; 0 = none); for each sentence whether half of it is marked."""
    units = segment(task.text, "sentence")
    number = np.searchsorted(units[:, 0], ends, side="left")
    number = np.where(starts < units[np.maximum(number - 1, 0), 1] if len(units) else False, number, 0)
    marked = np.zeros(len(task.text) + 1, dtype=np.int64)
    for start, end in task.spans:
        marked[start:end] = 1
    covered = np.concatenate([[0], np.cumsum(marked)])
    share = (covered[units[:, 1]] - covered[units[:, 0]]) / np.maximum(units[:, 1] - units[:, 0], 1)
    # between a fifth and a half is neither a yes nor a no
    relevant = np.select([share >= 0.5, share > 0.2], [1, -1], 0)
    return number.astype(np.int64), np.concatenate([[-1], relevant]).astype(np.int64)


def _renumber(sentences: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the sentences of a cropped window from 1, and keeps the judgements of those alone."""
    present = sentences[sentences > 0]
    if not len(present):
        return sentences, relevant[:1]
    low, high = present.min(), present.max()
    return np.where(sentences > 0, sentences - low + 1, 0), np.concatenate([relevant[:1], relevant[low : high + 1]])


def steps(start: int, stop: int, rank: int, world: int) -> Iterator[int]:
    """The batches that one process of ``world`` makes for steps ``start`` to ``stop``."""
    return iter(range(start * world + rank, stop * world, world))
