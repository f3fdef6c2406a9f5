"""LLMLingua's own prompt against the characters that are said to be kept, with a model of random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cprs_core.errors import CprsError
from cprs_core.evaluation.ranges import Ranges, size
from cprs_core.segments import segment

from .cases import made
from .models import save_causal

pytest.importorskip("llmlingua", reason="the extra lingua is not installed")

from cprs_core.evaluation.lingua import SETTINGS, Lingua, TokenDropper, _documents

TEXT = " ".join(f"On day {n} the {n % 3}rd boat of house {n % 7} left, e.g. for {n * 37}." for n in range(60))


@pytest.fixture(scope="module")
def dropper(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenDropper:
    return TokenDropper(save_causal(tmp_path_factory.mktemp("causal"), tiny_path), "cpu")


@pytest.fixture
def prompts(dropper: TokenDropper, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the package itself returns."""
    found: list[str] = []

    def noted(*args: Any, **options: Any) -> Any:
        result = TokenDropper.compress_prompt(dropper, *args, **options)
        found.append(result["compressed_prompt"])
        return result

    monkeypatch.setattr(dropper, "compress_prompt", noted)
    return found


def bare(text: str) -> str:
    """Without white space: documents are joined by more of it than the text has."""
    return "".join(text.split())


def check(text: str, kept: Ranges, prompt: str) -> None:
    assert (np.diff(kept.ravel()) > 0).all()  # disjoint, in order, and what touches is joined
    assert bare("".join(text[start:end] for start, end in kept.tolist())) == bare(prompt)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 1.0])
def test_what_is_kept_is_the_packages_prompt(dropper: TokenDropper, prompts: list[str], name: str, share: float) -> None:
    kept = Lingua(name, dropper).keep(made(TEXT), segment(TEXT, "sentence"), share)
    check(TEXT, kept, prompts[0])
    assert abs(size(kept) / len(TEXT) - share) < 0.3


def test_a_text_beyond_the_models_reach(dropper: TokenDropper, prompts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropper, "max_position_embeddings", 600)  # the package then drops the oldest from its cache
    check(TEXT, Lingua("llmlingua", dropper).keep(made(TEXT), segment(TEXT, "sentence"), 0.5), prompts[0])


def test_a_short_text_is_one_document(dropper: TokenDropper, prompts: list[str]) -> None:
    text = "Café 😀 prices rose by 4.5%. 图书馆的造价是15.7亿元；后来增加了。 Nobody knew why."
    for name in SETTINGS:
        kept = Lingua(name, dropper).keep(made(text), segment(text, "sentence"), 0.5)
        assert (np.diff(kept.ravel()) > 0).all() and kept.max() <= len(text) and prompts.pop()


def test_documents_are_runs_of_sentences() -> None:
    sentences = np.array([[0, 900], [901, 1500], [1501, 1600], [1700, 4000], [4001, 4010]])
    assert _documents(sentences).tolist() == [[0, 1500], [1501, 1600], [1700, 4000], [4001, 4010]]


def test_a_failure_names_case_and_remedy(dropper: TokenDropper, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise IndexError("index 7 is out of bounds")

    monkeypatch.setattr(dropper, "compress_prompt", fail)
    with pytest.raises(CprsError, match=r"case k of t \(IndexError: index 7.*--lingua-model"):
        Lingua("llmlingua", dropper).keep(made(TEXT), segment(TEXT, "sentence"), 0.1)
