"""Methods by name: what is shared, what is refused, and what is usual where packages are missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from cprs_core import ContextCompressor
from cprs_core.errors import InputError, ModelLoadError
from cprs_core.evaluation import lineup
from cprs_core.evaluation.lineup import METHODS, open_methods, usual_methods
from cprs_core.evaluation.methods import Fusion


def test_methods_come_in_order_and_share_their_models(compressor: ContextCompressor, tiny_path: Path) -> None:
    names = ["oracle", "embeddings", "fusion", "cprs", "bm25", "random", "lead"]
    found = open_methods(names, compressor, embedding_model=str(tiny_path), device="cpu")
    assert [method.name for method in found] == names
    fusion = found[2]
    assert isinstance(fusion, Fusion) and set(fusion.rankers) == {found[1], found[4]}


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["cprs", "bm52"], "no method 'bm52'.*longllmlingua"),
        (["cprs", "bm25", "cprs"], "once"),
        ([], "at least one"),
        (["llmlingua"], "--lingua-model"),
    ],
)
def test_what_cannot_be_compared(compressor: ContextCompressor, names: list[str], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        open_methods(names, compressor)


def test_lingua_methods_share_a_model(compressor: ContextCompressor, tiny_path: Path) -> None:
    pytest.importorskip("llmlingua")
    first, second = open_methods(METHODS[-2:], compressor, lingua_model=str(tiny_path), device="cpu")
    assert (first.name, second.name) == METHODS[-2:]
    assert vars(first)["_dropper"] is vars(second)["_dropper"]
    with pytest.raises(ModelLoadError, match="no/model"):
        open_methods(["llmlingua"], compressor, lingua_model="no/model")


def test_usual_methods_are_those_whose_packages_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usual_methods() == (["cprs", "bm25", "embeddings", "fusion"], [])

    def without(missing: str) -> Any:
        found = importlib.util.find_spec
        return lambda name: None if name == missing else found(name)

    monkeypatch.setattr(lineup.importlib.util, "find_spec", without("sentence_transformers"))
    assert usual_methods() == (["cprs", "bm25"], ["embeddings", "fusion"])
    monkeypatch.undo()
    monkeypatch.setattr(lineup.importlib.util, "find_spec", without("rank_bm25"))
    assert usual_methods() == (["cprs", "embeddings"], ["bm25", "fusion"])
