"""Tokens of the packaged tokenizer, words, and cases as plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from transformers import AutoTokenizer

from cprs_core.evaluation.case import Case
from cprs_core.models import BUNDLED, DEFAULT_MODEL
from cprs_core.tokens import TextTokenizer


@pytest.fixture(scope="session")
def count_tokens() -> Callable[[str], int]:
    """Counts the tokens of the packaged model."""
    return TextTokenizer.of(AutoTokenizer.from_pretrained(BUNDLED[DEFAULT_MODEL])).count


def count_words(text: str) -> int:
    """Counts words, where no real tokens are needed."""
    return len(text.split())


def plain(case: Case) -> dict[str, Any]:
    """A case's fields, such that two cases can be compared."""
    return {**vars(case), "gold": case.gold.tolist()}


def gold(case: Case) -> list[str]:
    """What has to survive, in words."""
    return [case.text[start:end] for start, end in case.gold.tolist()]
