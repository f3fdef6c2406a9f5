"""Causal models from a folder: the right type and device, and errors that say what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from cprs_core.errors import DeviceError, ModelLoadError
from cprs_core.evaluation.causal import load_causal


def test_a_folder_is_loaded_ready_to_run(tiny_path: Path) -> None:
    tokenizer, model = load_causal(str(tiny_path), "cpu")
    assert model.dtype == torch.float32 and not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    logits = model(**tokenizer("Some text.", return_tensors="pt")).logits
    assert logits.shape[-1] == model.config.vocab_size and torch.isfinite(logits).all()


def test_what_cannot_be_loaded_is_named(tiny_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"nothing/here.*hub id"):
        load_causal("nothing/here", "cpu")
    (tmp_path / "weights.gguf").write_bytes(b"GGUF of a kind")
    with pytest.raises(ModelLoadError, match=r"weights\.gguf"):
        load_causal(str(tmp_path / "weights.gguf"), "cpu")
    for file in tiny_path.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "distilbert"}))
    with pytest.raises(ModelLoadError, match="causal"):
        load_causal(str(tmp_path), "cpu")
    with pytest.raises(DeviceError, match="cuda:99"):
        load_causal(str(tiny_path), "cuda:99")
