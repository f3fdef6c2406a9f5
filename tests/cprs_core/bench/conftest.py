"""A tiny random critic in place of the 7B, and options that suit it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cprs_core.bench import random as random_model
from cprs_core.bench.options import Options

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 49152,
    "first_bidirectional_layer": 2,
    "window_size": 256,
}


@pytest.fixture(scope="session")
def tiny_config() -> dict[str, Any]:
    return random_model.random_7b_config() | SIZES


@pytest.fixture
def tiny_7b(tiny_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes ``random-7b`` tiny."""
    monkeypatch.setattr(random_model, "random_7b_config", lambda: tiny_config)


@pytest.fixture(scope="session")
def options(tiny_path: Path) -> Callable[..., Options]:
    """Options of the tiny checkpoint, changed by name."""
    usual = Options(
        tasks=("length",),
        model=str(tiny_path),
        device="cpu",
        dtypes=("float32",),
        lengths=(100, 300),
        documents=5,
        document_tokens=40,
        batches=(256, 512),
        window_size=256,
        baseline=True,
        baseline_dtype="float32",
        baseline_window=256,
        baseline_limit=200,
        runs=1,
    )
    return lambda **changes: replace(usual, **changes)
