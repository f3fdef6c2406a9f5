"""Calls of a compressor, drawn at random, and what must hold for each of them. For ``fuzz.py`` and for the tests.

Cases are drawn from a ``random.Random``, or from the one that hypothesis gives, which can shrink them. The scorer is no
model but a table: whatever is asked of it, spans lie in the text that was given, and budgets are kept, or a ``CprsError``
says why not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import numpy as np
import torch
from odd import odd_text

from cprs_core import Compression, ContextCompressor, CprsError, Instruction, Span
from cprs_core.instruction import PRESETS, UNITS
from cprs_core.loading import Checkpoint
from cprs_core.models import BUNDLED, DEFAULT_MODEL
from cprs_core.scoring import Memory, Window
from cprs_core.tokens import TextTokenizer


class Table:
    """A scorer without a model: what it says depends on a token and its place in the window."""

    device, token_bytes = torch.device("cpu"), 1

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._labels = rng.dirichlet((0.3, 0.3, 1.0, 0.3), 4099).astype(np.float32)
        self._tags = rng.random((4099, 64), np.float32)

    def score(self, windows: Sequence[Window], memory: Memory) -> torch.Tensor:
        rows = np.concatenate([(31 * window.ids + 17 * np.arange(len(window.ids))) % 4099 for window in windows])
        tags = self._tags[rows][:, np.arange(len(windows[0].tag_ids) - 1) % 64]
        return torch.from_numpy(np.concatenate([self._labels[rows], tags], 1))


@cache
def compressor() -> ContextCompressor:
    """The default model's tokenizer, and the table: small windows, so that short texts have many."""
    tokenizer = TextTokenizer((BUNDLED[DEFAULT_MODEL] / "tokenizer.json").read_text("utf-8"))
    checkpoint = Checkpoint("table", tokenizer, [Table()], True, 320, {"sentence": 0.3, "word": 0.2}, {"sentence": 0.5})
    return ContextCompressor(checkpoint, overlap=8, batch_tokens=1024)


def odd_number(rng: Random) -> Any:
    """What should be a number."""
    return rng.choice((0, -1, 1.5, 1e-9, 2**70, 10**400, math.nan, math.inf, True, "5", None, [], rng.uniform(-2, 2)))


def _limits(rng: Random) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kind = rng.randrange(4)
    if kind == 1:
        found["max_tokens"] = rng.randint(1, rng.choice((5, 80, 1000)))
    if kind == 2:
        found["ratio"] = rng.choice((rng.random(), rng.random() ** 4, 1))
    if rng.random() < 0.3:
        found["threshold"] = rng.random()
    if rng.random() < 0.1:
        found[rng.choice(("max_tokens", "ratio", "threshold"))] = odd_number(rng)
    return found


def _instruction(rng: Random) -> Any:
    kind = rng.randrange(10)
    if kind < 3:
        return None
    if kind < 6:
        return rng.choice(list(PRESETS.values()))()
    prompt = odd_text(rng) if kind < 7 else "Keep what is said about money."
    if kind < 8:
        return prompt
    tags = rng.choice((["fact"], ["drug", "money"], ["<|im_end|>"], ["好", "x"], [], ["fact", "fact"], [" "], ["outside"]))
    return {"prompt": prompt, "tags": tags, "unit": rng.choice(UNITS)}


@dataclass(frozen=True)
class TextCase:
    form: str
    texts: list[str]
    query: str
    instruction: Any
    limits: dict[str, Any]


def text_case(rng: Random) -> TextCase:
    """A call, most of them sound."""
    texts = [odd_text(rng) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.05:
        texts[-1] += "\ud800"
    query = "Who owns it?" if rng.random() < 0.7 else odd_text(rng)[:200]
    form = rng.choice(("compress", "documents", "batch", "stream"))
    return TextCase(form, texts, query, _instruction(rng), _limits(rng))


def text_holds(case: TextCase) -> None:
    """Runs the call, and fails unless its result is right or a CprsError."""
    made, limits, (first, *_) = compressor(), case.limits, case.texts
    try:
        what = Instruction(**case.instruction) if isinstance(case.instruction, dict) else case.instruction
        if case.form == "compress":
            results = [made.compress(first, case.query, what, **limits)]
        elif case.form == "documents":
            results = made.compress_documents(case.texts, case.query, what, **limits)
        elif case.form == "batch":
            results = made.compress_batch([(text, case.query) for text in case.texts], what, **limits)
        else:
            verbatim(first, list(made.stream(first, case.query, what, threshold=limits.get("threshold"))))
            return
    except CprsError:
        return
    given = case.texts[: len(results)]
    for text, result in zip(given, results, strict=True):
        verbatim(text, result.spans)
        assert len(result.text) <= len(text) and result.kept_tokens == made.count_tokens(result.text)
        if Instruction.of(what).unit != "word":  # of words, each has to reach it by itself, not with what lies between
            assert all(span.score >= (limits.get("threshold") or 0) - 1e-6 for span in result.spans)
    for group in [results] if case.form == "documents" else [[result] for result in results]:
        within_budget(group, limits)


def within_budget(results: Sequence[Compression], limits: dict[str, Any]) -> None:
    """Fails if texts with one budget have more than it allows."""
    kept = sum(result.kept_tokens for result in results)
    if limits.get("max_tokens") is not None:
        assert kept <= limits["max_tokens"]
    if limits.get("ratio") is not None:
        assert kept <= limits["ratio"] * sum(result.input_tokens for result in results)


def verbatim(text: str, spans: Sequence[Span]) -> None:
    """Fails unless the spans are slices of the text: in order, apart, and not empty."""
    last = 0
    for span in spans:
        assert last <= span.start < span.end <= len(text) and text[span.start : span.end] == span.text
        last = span.end
