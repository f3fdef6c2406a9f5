"""Which records train the default model, and which only measure it. Fixed before the first training run.

A data folder holds ``train/NAME.json.xz`` (one source a file) and ``haystack/*.txt.xz`` (long plain text).

- The sources of ``HELD_OUT`` are never trained on.
- Of every other source, ``is_validation`` sends about one document in twenty (``SHARES``) to validation, by a hash.
- A training record that shares text with what is measured is dropped: see ``training_records``.

Nothing here draws random numbers: the same folder always gives the same records, in the same order.
"""

import hashlib
import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypedDict

from cprs_core.errors import DataError

HELD_OUT = (
    "nq_swap", "qed", "friendsqa", "covidqa", "wice", "musique_mix", "strategyqa_paras", "hotpotqa_titles", "tatqa",
)  # fmt: skip

# The query fits every context of the source ("list the diseases"), so that other contexts hold unlabelled positives.
GENERIC = frozenset({
    "bio_ner", "csabstruct", "cuad_clauses", "pubmedqa", "sgd", "stackoverflow_ner", "toxic_spans", "wikigold",
    "wnut17",
})  # fmt: skip

# Share of the documents that validate. Mid-sized sources give more, to come near 200 cases.
SHARES = dict.fromkeys(
    ("2wikimultihop_mix", "code_py_stdlib", "entailmentbank", "evidence_inference", "fairytaleqa", "hotpotqa_mix",
     "selqa", "strategyqa_facts"), 0.10,
)  # fmt: skip
DEFAULT_SHARE = 0.05

BY_CONTEXT = frozenset({"csabstruct", "molweni"})  # one or two documents in all: split by the context's text instead

SHARED_CHARS = 80  # a line or a sentence at least this long counts as shared text


class Record(TypedDict):
    """One question put to one context; records of one context share the string."""

    source: str
    query: str
    context: str
    spans: list[tuple[int, int, str]]  # (start, end, tag), characters; empty: the context does not answer
    answers: list[str]
    doc: str


def sources(folder: str | Path) -> list[str]:
    """Names of the sources in the data folder, sorted."""
    found = sorted(path.name.removesuffix(".json.xz") for path in Path(folder, "train").glob("*.json.xz"))
    if not found:
        raise DataError(f"no train/*.json.xz in {folder}; give the folder that holds train/ and haystack/")
    return found


def records(folder: str | Path, source: str) -> Iterator[Record]:
    """Every record of one source, unsplit."""
    path = Path(folder, "train", f"{source}.json.xz")
    try:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            data: dict[str, Any] = json.load(file)
        contexts = data["contexts"]
        for row in data["rows"]:
            context = contexts[row["context"]]
            spans = [(start, end, tag) for start, end, tag in row["spans"]]
            doc = context if source in BY_CONTEXT else row.get("doc") or context
            yield Record(source=source, query=row["query"], context=context, spans=spans,
                         answers=row["answers"], doc=doc)  # fmt: skip
    except (OSError, lzma.LZMAError, ValueError, KeyError, IndexError) as error:
        raise DataError(f"{path} is not a readable training file ({error!r}); fetch or convert it again") from error


def is_validation(source: str, doc: str, *, share: float | None = None) -> bool:
    """Whether a document only measures. ``doc`` is the record's ``doc``; ``share`` overrides that of the source."""
    if source in HELD_OUT:
        return True
    share = SHARES.get(source, DEFAULT_SHARE) if share is None else share
    return _digest(f"{source}\0{doc}") < share * 2**64


def validation_records(folder: str | Path, source: str | None = None) -> Iterator[Record]:
    """The records that measure, of one source or of all."""
    for name in [source] if source else sources(folder):
        yield from (record for record in records(folder, name) if is_validation(name, record["doc"]))


def training_records(folder: str | Path) -> Iterator[Record]:
    """The records to train on: not validation, and sharing no text with it.

    Dropped are records with the query or the evidence of a held-out source, or with the evidence or (where queries are
    particular) the query of a validation record. A paragraph that shares a line or a sentence with a held-out source is
    cut out of its context; if it holds a span, the record is dropped. Lines and sentences count from ``SHARED_CHARS``
    on; compared are the lower-cased words.
    """
    measured = _measured(folder)
    for source in sources(folder):
        if source in HELD_OUT:
            continue
        context, shared = None, False
        for record in records(folder, source):
            if is_validation(source, record["doc"]):
                continue
            if record["context"] is not context:
                context = record["context"]
                shared = not measured.text.isdisjoint(_prints(context))
            if measured.own.isdisjoint(_own(record)):
                kept = _without(record, measured.text) if shared else record
                if kept is not None:
                    yield kept


def _without(record: Record, text: set[int]) -> Record | None:
    """The record less the paragraphs that share this text, spans moved; None if a span or everything would go."""
    start, kept, spans = 0, "", []
    for paragraph in re.split(r"(?<=\n\n)", record["context"]):
        end = start + len(paragraph)
        inside = [span for span in record["spans"] if span[0] < end and span[1] > start]
        if text.isdisjoint(_prints(paragraph)):
            spans += [(s - start + len(kept), e - start + len(kept), tag) for s, e, tag in inside if s >= start]
            kept += paragraph
        elif inside:
            return None
        start = end
    return {**record, "context": kept, "spans": spans} if kept else None


def haystack(folder: str | Path, part: Literal["train", "valid"]) -> Iterator[str]:
    """The long plain texts: the first 80 % of each file trains, the rest measures; cut at a paragraph."""
    for path in sorted(Path(folder, "haystack").glob("*.txt.xz")):
        text = lzma.decompress(path.read_bytes()).decode("utf-8")
        cut = text.rfind("\n\n", 0, len(text) * 4 // 5) + 2
        yield text[:cut] if part == "train" else text[cut:]


class _Measured:
    """Fingerprints of what measures: all text of held-out contexts; queries and evidence of every record."""

    def __init__(self) -> None:
        self.text: set[int] = set()
        self.own: set[int] = set()


def _measured(folder: str | Path) -> _Measured:
    measured, context = _Measured(), None
    for record in validation_records(folder):
        measured.own |= _own(record)
        if record["source"] in HELD_OUT and record["context"] is not context:
            context = record["context"]
            measured.text |= _prints(context)
    return measured


def _own(record: Record) -> set[int]:
    own: set[int] = set()
    for start, end, tag in record["spans"]:
        if tag == "evidence":
            own |= _prints(record["context"][start:end])
    if record["source"] not in GENERIC:
        own.add(_digest("query " + _words(record["query"])))
    return own


def _prints(text: str) -> set[int]:
    """Fingerprints of the lines and sentences. Sentences are cut simply, so that the split depends on nothing else."""
    pieces = {*text.splitlines(), *re.split(r"(?<=[.!?])\s+|\n", text)}
    return {_digest(_words(piece)) for piece in pieces if len(piece) >= SHARED_CHARS}


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")
