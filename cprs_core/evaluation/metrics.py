"""What is measured of one case: plain functions of characters, sentences and words.

recall       share of the gold characters that were kept
retained     whether the answers are still in the kept text, verbatim
decision     precision, recall and F1 of whole sentences
reliability  how often what scores 0.7 matters, in ten bins, and the expected calibration error
answered     exact match and F1 of an answer in words, as SQuAD defines them
mean         every figure is a number, so that those of many cases are averaged one by one
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .ranges import Ranges, intersection, marked, size

BINS = 10

Figures = dict[str, float]


def mean(figures: Iterable[Figures]) -> Figures:
    """The mean of each figure over those that have it."""
    columns: dict[str, list[float]] = {}
    for row in figures:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in columns.items()}


def recall(gold: Ranges, kept: Ranges) -> float:
    """Share of the gold characters int64 [k, 2], at least one, that were kept; 0 to 1."""
    return size(intersection(gold, kept)) / size(gold)


def retained(kept: str, answers: Sequence[str], *, needs_all: bool) -> float:
    """1.0 if all answers (or any) stand in the kept text, else 0.0. Case matters; all white space is alike."""
    text = " ".join(kept.split())
    found = (" ".join(answer.split()) in text for answer in answers)
    return float(all(found) if needs_all else any(found))


def decision(gold: Ranges, kept: Ranges, sentences: Ranges) -> Figures:
    """Precision, recall and F1 of the kept sentences; a sentence counts as :func:`~.ranges.marked` says."""
    truth, chosen = marked(sentences, gold), marked(sentences, kept)
    hits = float((truth & chosen).sum())
    return {
        "precision": hits / max(float(chosen.sum()), 1.0),
        "recall": hits / max(float(truth.sum()), 1.0),
        "f1": 2 * hits / max(float(truth.sum() + chosen.sum()), 1.0),
    }


def reliability(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> list[list[float]]:
    """Ten bins of probabilities from 0 to 1: how many there are, the sum of their scores, and how many are true.

    The bins of several cases may be added or averaged; :func:`calibration_error` is the same for both.
    """
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    columns = (np.bincount(bins, weights, BINS) for weights in (None, scores, truth.astype(float)))
    return np.stack([np.asarray(column, float) for column in columns], 1).tolist()


def calibration_error(bins: list[list[float]]) -> float:
    """The expected calibration error, 0 to 1: by how much scores miss the share that is true, averaged over scores."""
    counts, scores, truth = np.asarray(bins).T
    return float(np.abs(scores - truth).sum() / max(counts.sum(), 1e-12))


def normalized(answer: str) -> list[str]:
    """The words of an answer as SQuAD compares them: lower case, without punctuation and articles."""
    bare = "".join(char for char in answer.lower() if char not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def answered(prediction: str, answers: Sequence[str], *, needs_all: bool) -> Figures:
    """Exact match and word F1 against the best of the answers; where all are needed, against all of them in one.

    ``contains``: whether they are all (or one of them is) somewhere in the prediction, as RULER scores it.
    """
    gold = [" ".join(answers)] if needs_all else answers
    words = normalized(prediction)
    wanted = [normalized(answer) for answer in gold]
    return {
        "exact": float(words in wanted),
        "f1": max(_word_f1(words, other) for other in wanted),
        "contains": retained(prediction.lower(), [answer.lower() for answer in answers], needs_all=needs_all),
    }


def _word_f1(a: list[str], b: list[str]) -> float:
    if not a or not b:
        return float(a == b)
    return 2 * sum((Counter(a) & Counter(b)).values()) / (len(a) + len(b))
