"""Sentence embeddings against plain transformers, with a model of random weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from cprs_core.errors import MissingExtraError, ModelLoadError
from cprs_core.evaluation import embeddings
from cprs_core.evaluation.embeddings import HUB_ID, Embeddings, default_model
from cprs_core.segments import segment

from .cases import made


@pytest.fixture(scope="module")
def method(tiny_path: Path) -> Embeddings:
    return Embeddings(str(tiny_path), "cpu")


def expected(path: Path, texts: list[str]) -> np.ndarray:
    """Means of the last hidden states, one text at a time."""
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    with torch.inference_mode():
        states = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0] for text in texts]
    vectors = torch.stack([state.mean(0) for state in states])
    return np.asarray(torch.nn.functional.normalize(vectors, dim=-1).float())


def test_vectors_and_scores_are_those_of_the_model(method: Embeddings, tiny_path: Path) -> None:
    case = made()
    sentences = segment(case.text, "sentence")
    texts = [case.query, *(case.text[start:end] for start, end in sentences.tolist())]
    vectors = expected(tiny_path, texts)
    assert method.embed(texts) == pytest.approx(vectors, abs=1e-5)
    assert method.scores(case, sentences) == pytest.approx(vectors[1:] @ vectors[0], abs=1e-5)
    assert len(method.keep(case, sentences, 0.3)) >= 1


def test_texts_are_remembered_up_to_a_limit(method: Embeddings, monkeypatch: pytest.MonkeyPatch) -> None:
    first = method.embed(["one", "two", "one"])
    assert (first[0] == first[2]).all() and (first[0] != first[1]).any()
    encoded: list[list[str]] = []
    encode = method._model.encode

    def noted(new: list[str], **options: Any) -> Any:
        encoded.append(new)
        return encode(new, **options)

    monkeypatch.setattr(method._model, "encode", noted)
    method.embed(["one", "three"])
    monkeypatch.setattr(embeddings, "_MOST", len(method._known))
    again = method.embed(["one", "four"])
    assert encoded == [["three"], ["one", "four"]] and again[0] == pytest.approx(first[0], abs=1e-6)


def test_wrong_models_and_missing_packages_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelLoadError, match=r"no/such-model.*--embedding-model"):
        Embeddings("no/such-model", "cpu")
    monkeypatch.setattr(embeddings, "_PACKAGE", "no_such_package")
    assert default_model() == HUB_ID
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"sentence-transformers.*cprs-core\[eval\]"):
        Embeddings("any")
