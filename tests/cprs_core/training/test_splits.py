"""The split on a tiny data folder: fixed, disjoint, and without shared text."""

import json
import lzma
from pathlib import Path

import pytest

from cprs_core.errors import DataError
from cprs_core.training import splits

SHARED = "A long sentence that a held-out context and a training context have in common, word for word, must go."

# of the documents "doc 0" to "doc 189"
SPLIT_OF_SELQA = [10, 23, 25, 33, 55, 58, 61, 75, 84, 87, 88, 90, 93, 122, 130, 159, 164, 183, 184, 189]


def write(folder: Path, source: str, contexts: list[str], rows: list[dict[str, object]]) -> None:
    (folder / "train").mkdir(exist_ok=True)
    data = {"source": source, "contexts": contexts, "rows": rows}
    (folder / "train" / f"{source}.json.xz").write_bytes(lzma.compress(json.dumps(data).encode()))


def row(query: str, context: int, spans: list[list[object]], doc: str) -> dict[str, object]:
    return {"query": query, "context": context, "spans": spans, "answers": [], "doc": doc}


def test_split_never_changes() -> None:
    chosen = [n for n in range(190) if splits.is_validation("selqa", f"doc {n}")]
    assert chosen == SPLIT_OF_SELQA  # fixed: changing it would measure on what was trained
    assert all(splits.is_validation(source, "anything") for source in splits.HELD_OUT)
    assert not splits.is_validation("selqa", f"doc {chosen[0]}", share=0.0)


@pytest.mark.parametrize("source", ["squad_aq", "selqa"])
def test_shares(source: str) -> None:
    share = sum(splits.is_validation(source, str(n)) for n in range(10_000)) / 10_000
    assert share == pytest.approx(splits.SHARES.get(source, splits.DEFAULT_SHARE), abs=0.01)


def test_every_record_is_on_one_side_and_contexts_are_shared(tmp_path: Path) -> None:
    contexts = [f"Context {n} of its document." for n in range(300)]
    rows = [row(f"question {n} {part}?", n, [[0, 9, "evidence"]], f"doc {n}") for n in range(300) for part in "ab"]
    write(tmp_path, "squad_aq", contexts, rows)
    train, valid = list(splits.training_records(tmp_path)), list(splits.validation_records(tmp_path))
    assert len(train) + len(valid) == 600 and 10 < len(valid) < 60
    assert {r["doc"] for r in train}.isdisjoint(r["doc"] for r in valid)
    assert train[0]["context"] is train[1]["context"]


def test_shared_text_is_not_trained_on(tmp_path: Path) -> None:
    write(tmp_path, "qed", [f"Held out.\n{SHARED}"], [row("Who asks this?", 0, [], "d")])
    own = "My own evidence."
    bag = f"First paragraph.\n\n{SHARED.upper()}\n\n{own} And more."
    start = bag.index(own)
    contexts = [bag, SHARED, "Unrelated."]
    docs = [doc for doc in map(str, range(100)) if not splits.is_validation("squad_aq", doc)]
    rows = [
        row("kept, less a paragraph", 0, [[start, start + len(own), "evidence"]], docs[0]),
        row("dropped for its evidence", 0, [[start - 20, start, "evidence"]], docs[0]),
        row("dropped, nothing would be left", 1, [], docs[1]),
        row("who asks this", 2, [], docs[2]),
        row("another question", 2, [], docs[2]),
    ]
    write(tmp_path, "squad_aq", contexts, rows)
    first, second = splits.training_records(tmp_path)
    assert (first["query"], second["query"]) == ("kept, less a paragraph", "another question")
    assert first["context"] == f"First paragraph.\n\n{own} And more."
    (begin, end, tag), = first["spans"]  # fmt: skip
    assert (first["context"][begin:end], tag) == (own, "evidence")


def test_haystack_parts_make_the_whole(tmp_path: Path) -> None:
    text = "\n\n".join(f"Paragraph {n}." for n in range(100))
    (tmp_path / "haystack").mkdir()
    (tmp_path / "haystack" / "book.txt.xz").write_bytes(lzma.compress(text.encode()))
    (train,), (valid,) = splits.haystack(tmp_path, "train"), splits.haystack(tmp_path, "valid")
    assert train + valid == text and valid.startswith("Paragraph") and 0.15 < len(valid) / len(text) < 0.25


def test_unusable_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no train"):
        splits.sources(tmp_path)
    write(tmp_path, "selqa", [], [row("q", 3, [], "d")])
    with pytest.raises(DataError, match=r"selqa\.json\.xz"):
        list(splits.records(tmp_path, "selqa"))
