"""Shares of tokens with the same labels and decisions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cprs_core import ContextCompressor
from cprs_core.bench.agreement import agreement


def test_what_is_the_same_agrees(compressor: ContextCompressor, prose: str) -> None:
    scores = compressor.scores(prose, "Who is she?")
    found = agreement(compressor, prose, [scores, scores], [scores, scores])
    assert found == {
        "same_label": 1.0,
        "same_decision": 1.0,
        "difference": 0.0,
        "tokens_compared": 2 * compressor.count_tokens(prose),
    }


def test_what_differs_is_counted(compressor: ContextCompressor, prose: str) -> None:
    scores = compressor.scores(prose, "Who is she?")
    labels = np.tile(np.float32([0, 0, 1, 0]), (len(scores.starts), 1))
    nothing = replace(scores, label_probs=labels)
    labels = labels.copy()
    labels[: len(labels) // 4] = [0, 1, 0, 0]
    quarter = replace(scores, label_probs=labels)
    found = agreement(compressor, prose, [quarter], [nothing])
    assert found["same_label"] == pytest.approx(0.75, abs=0.01)
    assert found["same_decision"] == pytest.approx(0.75, abs=0.1)
    assert found["difference"] == pytest.approx(scores.tag_probs[: len(labels) // 4].max())
