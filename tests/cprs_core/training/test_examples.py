"""Training windows: labels fit the text, examples repeat, distractors are others' words."""

from __future__ import annotations

import random
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from cprs_core.spans import B, O, runs
from cprs_core.tokens import TextTokenizer
from cprs_core.training import data
from cprs_core.training.examples import Examples, Mixture, _unresolved, steps
from cprs_core.training.losses import IGNORE
from cprs_core.training.tasks import Task

TINY = Path(__file__).parents[2] / "data" / "tiny-checkpoint"
PROSE = "It was raining in Porto, and nobody came. The mayor waited for an hour. " * 80


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.of(AutoTokenizer.from_pretrained(TINY))


@pytest.fixture(scope="module")
def examples(rows: Path, tokenizer: TextTokenizer) -> Examples:
    train, _ = data.read([rows])
    mixture = Mixture(lengths={256: 1.0, 512: 1.0}, tokens_per_batch=2048)
    return Examples(train, [PROSE], tokenizer, mixture, seed=7)


def test_a_batch_depends_on_its_number_alone(examples: Examples) -> None:
    first, again, other = examples[5], examples[5], examples[6]
    for name in first:
        assert (first[name] == again[name]).all()
    assert first["input_ids"].shape != other["input_ids"].shape or (first["input_ids"] != other["input_ids"]).any()
    assert first["input_ids"].numel() == 2048


def test_labels_mark_the_evidence(examples: Examples, tokenizer: TextTokenizer) -> None:
    marked = 0
    for seed in range(60):
        example = examples.example(random.Random(seed), 256)
        ids, labels = example["input_ids"], example["labels"]
        assert len(ids) == len(labels) == len(example["sentences"]) <= 256
        prefix = int((labels == IGNORE).sum())
        assert (labels[:prefix] == IGNORE).all() and (labels[prefix:] != IGNORE).all()
        text = tokenizer._backend.decode(ids[:prefix].tolist())
        for start, end in runs(labels[prefix:].astype(np.int8)):
            piece = tokenizer._backend.decode(ids[prefix + start : prefix + end].tolist())
            place = next((word for word in text.split() if word in piece and len(word) > 5), None)
            marked += place is not None
    assert marked > 30


def test_sentences_of_the_evidence_are_relevant(examples: Examples) -> None:
    for seed in range(60):
        example = examples.example(random.Random(seed), 512)
        relevant, sentences = example["relevant"], example["sentences"]
        assert relevant[0] == -1 and sentences.max() < len(relevant)
        for number in np.flatnonzero(relevant == 1):
            inside = example["labels"][sentences == number]
            assert len(inside) and (inside != O).mean() > 0.3


def test_without_distractors_a_window_is_the_record(rows: Path, tokenizer: TextTokenizer) -> None:
    train, _ = data.read([rows])
    plain = Examples(
        train, [], tokenizer, Mixture(distractors=False, synthetic=0.0, by_form=0.0, by_keywords=0.0, rewrap=0.0), seed=0
    )
    contexts = {record["context"] for record in train}
    example = plain.example(random.Random(0), 512)
    own = example["input_ids"][example["labels"] != IGNORE]
    assert tokenizer._backend.decode(own.tolist()).strip() in contexts


def test_the_share_without_an_answer_is_kept(rows: Path, tokenizer: TextTokenizer) -> None:
    train, _ = data.read([rows])
    never = Examples(train, [], tokenizer, Mixture(without_answer=1.0, synthetic=0.0, by_form=0.0, by_keywords=0.0), seed=0)
    for seed in range(20):
        labels = never.example(random.Random(seed), 256)["labels"]
        assert set(labels.tolist()) <= {IGNORE, O}


def test_steps_share_the_batches_among_processes() -> None:
    parts = [list(steps(2, 5, rank, 3)) for rank in range(3)]
    assert sorted(chain(*parts)) == list(range(6, 15)) and {len(part) for part in parts} == {3}


def test_statements_that_may_belong_to_the_chain_are_kept(tokenizer: TextTokenizer) -> None:
    made = Examples([], [PROSE], tokenizer, Mixture(), seed=0)
    wanted, rival = "VAR AAAA = 12345. ", "VAR BBBB = 54321. "
    links = "VAR CCCC = VAR AAAA. Nothing else. VAR DDDD = VAR BBBB. "
    text = wanted + rival + PROSE[:4000] + links
    place = {name: text.index(f"VAR {name} =") for name in ("AAAA", "BBBB", "CCCC", "DDDD")}
    span = {name: (start, text.index(".", start) + 1, 0) for name, start in place.items()}
    task = Task(f"Find all variables that are assigned the value {12345}.", text, [span["AAAA"], span["CCCC"]], "chains")
    task.rivals = [[span["BBBB"], span["DDDD"]]]
    kept = [made._window(random.Random(seed), 256, task) for seed in range(40)]
    both = [w for w in kept if (w["labels"] == B).sum() == 2 and (w["labels"][-40:] != O).any()]
    assert both, "a window with the links alone marks both"
    start = [w for w in kept if (w["labels"][100:160] == B).any() and (w["labels"][-40:] == O).all()]
    assert all((w["labels"] == B).sum() == 1 for w in start), "where the chain begins, its rival is none of it"


def test_links_of_a_rival_are_kept_where_no_chain_has_its_beginning(tokenizer: TextTokenizer) -> None:
    made = Examples([], [PROSE], tokenizer, Mixture(), seed=0)
    text = "VAR BBBB = 54321. " + PROSE[:4000] + "VAR DDDD = VAR BBBB. " + PROSE[:4000] + "VAR AAAA = 12345."
    place = {name: text.index(f"VAR {name} =") for name in ("AAAA", "BBBB", "DDDD")}
    span = {name: (start, text.index(".", start) + 1, 0) for name, start in place.items()}
    task = Task("Find all variables that are assigned the value 12345.", text, [span["AAAA"]], "chains")
    task.rivals = [[span["BBBB"], span["DDDD"]]]
    middle, end = place["DDDD"], place["AAAA"]
    assert _unresolved(task, middle - 50, middle + 50) == task.rivals[0]
    assert _unresolved(task, end - 50, end + 50) == [] == _unresolved(task, 0, 50)
    labels = [made._window(random.Random(seed), 256, task)["labels"] for seed in range(40)]
    assert {int((some == B).sum()) for some in labels} <= {0, 1}, "the links lie too far apart for one window"
