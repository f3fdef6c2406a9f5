"""Texts have the lengths that were asked for, and are always the same."""

from __future__ import annotations

import pytest

from cprs_core.bench.texts import Texts
from cprs_core.loading import Checkpoint


@pytest.fixture(scope="module")
def texts(tiny: Checkpoint) -> Texts:
    return Texts(tiny.tokenizer.count)


@pytest.mark.parametrize("tokens", [1_000, 20_000])
def test_a_text_has_its_length(tiny: Checkpoint, texts: Texts, tokens: int) -> None:
    text = texts.text(tokens)
    assert tiny.tokenizer.count(text) == pytest.approx(tokens, rel=0.01)
    assert Texts(tiny.tokenizer.count).text(tokens) == text


def test_documents_differ(tiny: Checkpoint, texts: Texts) -> None:
    documents = texts.documents(20, 300)
    assert len(set(documents)) == 20
    assert [tiny.tokenizer.count(text) for text in documents] == pytest.approx([300] * 20, rel=0.03)
