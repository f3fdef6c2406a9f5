"""Stands in for functions of cprs_core.loading until they are there."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import AutoTokenizer, Qwen2Config

from cprs_core import loading
from cprs_core.loading import Checkpoint
from cprs_core.model import TokenCritic, critic_class
from cprs_core.scoring import scorer
from cprs_core.tokens import TextTokenizer


def load_model(name: str, **options: Any) -> TokenCritic:
    return loading.load(name, **options).model


def read_tokenizer(source: str) -> TextTokenizer:
    return TextTokenizer(AutoTokenizer.from_pretrained(source))


def assemble(
    name: str, config: dict[str, Any], weights: dict[str, Tensor], tokenizer: TextTokenizer, *, device: Any, dtype: str
) -> Checkpoint:
    settings = Qwen2Config(**config)
    model = critic_class(Qwen2Config)(settings).to(loading.DTYPES[dtype])
    model.cls_head.float()
    model.load_state_dict(weights)
    weights.clear()
    model.to(device).eval().requires_grad_(False)
    return Checkpoint(name, model, tokenizer, scorer(model), True, settings.window_size, {}, {})


def install() -> None:
    for function in (load_model, read_tokenizer, assemble):
        if not hasattr(loading, function.__name__):
            setattr(loading, function.__name__, function)
