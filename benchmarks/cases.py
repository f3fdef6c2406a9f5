"""Benchmark cases: one record's context buried among other contexts of its source.

Everything follows from the record, the validation split and a seed; asking for fewer cases gives the first of them.
Only evidence spans count. Left out are sources with generic queries, whose other contexts hold unlabelled positives,
and those with too little to measure.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from cprs_core.evaluation.case import Case
from cprs_core.evaluation.ranges import Ranges, ranges, union
from cprs_core.segments import segment
from cprs_core.training import splits
from cprs_core.training.splits import Record

BURIED_IN = 16_000  # characters of other contexts; a context longer than this stands alone
LONGEST = 40_000  # characters; a longer context is cropped around its spans
EXCERPT = 4_000  # characters that one other context gives at most
TOO_SMALL = frozenset({"hover", "molweni", "morehopqa"})  # a dozen cases, or too little text to bury them in

Kind = Literal["answerable", "unanswerable", "absent"]


def benchmark_sources(folder: str | Path) -> list[str]:
    """The sources that make cases, held-out ones first."""
    names = [name for name in splits.sources(folder) if name not in splits.GENERIC | TOO_SMALL]
    return sorted(names, key=lambda name: (name not in splits.HELD_OUT, name))


def cases(
    folder: str | Path, source: str, kind: Kind, count: int, seed: int = 0, shard: int = 0, shards: int = 1
) -> Iterator[Case]:
    """Up to ``count`` cases of a source (their ``task``), or every ``shards``-th of them from the ``shard``-th on.

    ``answerable`` records have evidence; ``unanswerable`` ones have none in their context; ``absent`` are the
    answerable ones put to the other contexts alone.
    """
    records = list(splits.validation_records(folder, source))
    others = list({record["context"]: record["doc"] for record in records}.items())
    wanted = [record for record in records if (not record["spans"] if kind == "unanswerable" else len(_evidence(record)))]
    source_seed = zlib.crc32(source.encode())
    order = np.random.default_rng((seed, source_seed)).permutation(len(wanted))
    for index in order[:count][shard::shards].tolist():
        record, rng = wanted[index], np.random.default_rng((seed, source_seed, index))
        text, gold = bury(record, others, rng, present=kind != "absent")
        if text and (kind != "answerable" or len(gold)):
            yield Case(source, f"{kind}/{index}", record["query"], text, gold, about={"kind": kind})


def bury(
    record: Record, others: list[tuple[str, str]], rng: np.random.Generator, *, present: bool = True
) -> tuple[str, Ranges]:
    """The text and the gold spans of a record among ``others``, pairs of (context, doc)."""
    own, gold = crop(record["context"], _evidence(record), LONGEST)
    need = BURIED_IN if len(own) <= BURIED_IN or not present else 0
    parts: list[str] = []
    for index in rng.permutation(len(others)).tolist():
        if need <= 0:
            break
        context, doc = others[index]
        if doc != record["doc"] and not _gives_away(record, context):
            part = excerpt(context, min(EXCERPT, need))
            parts.append(part)
            need -= max(len(part), 1)
    if not present:
        return "\n\n".join(part for part in parts if part), ranges([])
    parts = [part for part in parts if part]
    place = int(rng.integers(len(parts) + 1))
    before = "".join(part + "\n\n" for part in parts[:place])
    return before + "\n\n".join([own, *parts[place:]]), gold + len(before)


def crop(text: str, spans: Ranges, limit: int) -> tuple[str, Ranges]:
    """At most ``limit`` characters around the middle of the spans, cut at sentences; merges spans, drops outer ones."""
    start, end = 0, len(text)
    if len(text) > limit:
        middle = int(spans[0, 0] + spans[-1, 1]) // 2 if len(spans) else 0
        start = max(0, min(middle - limit // 2, len(text) - limit))
        inside = segment(text, "sentence")
        inside = inside[(inside[:, 0] >= start) & (inside[:, 1] <= start + limit)]
        start, end = (int(inside[0, 0]), int(inside[-1, 1])) if len(inside) else (start, start + limit)
    return text[start:end], union(spans[(spans[:, 0] >= start) & (spans[:, 1] <= end)]) - start


def excerpt(text: str, limit: int) -> str:
    """The beginning of a text: as many whole sentences as ``limit`` characters hold."""
    if len(text) <= limit:
        return text
    ends = segment(text[: 2 * limit], "sentence")[:, 1]
    return text[: int(ends[ends <= limit].max(initial=0))]


def _evidence(record: Record) -> Ranges:
    return ranges(sorted((start, end) for start, end, tag in record["spans"] if tag == "evidence"))


def _gives_away(record: Record, context: str) -> bool:
    """Whether a context holds the record's evidence, or an answer of four characters or more."""
    texts = [record["context"][start:end] for start, end in _evidence(record).tolist()]
    texts += [answer for answer in record["answers"] if len(answer) >= 4]
    lowered = context.lower()
    return any(text.lower() in lowered for text in texts)
