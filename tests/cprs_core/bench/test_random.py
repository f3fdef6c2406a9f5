"""Random weights are those of a critic, by name, shape and type."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Qwen2Config

from cprs_core.bench.random import random_7b_config, random_critic, random_weights
from cprs_core.model import critic_class

CPU = torch.device("cpu")


def shapes(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("tied", [False, True])
def test_names_and_shapes_are_those_of_the_critic(tiny_config: dict[str, Any], tied: bool) -> None:
    config = tiny_config | {"tie_word_embeddings": tied}
    expected = shapes(critic_class(Qwen2Config)(Qwen2Config(**config)).state_dict())
    if tied:
        del expected["lm_head.weight"]
    assert shapes(random_weights(config, 0, CPU, torch.float32)) == expected


def test_the_7b_has_the_released_shape() -> None:
    with torch.device("meta"):
        model = critic_class(Qwen2Config)(Qwen2Config(**random_7b_config()))
    state = model.state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == 7_615_630_852  # Qwen2.5-7B and a head of 4 labels
    assert state["model.layers.27.self_attn.k_proj.weight"].shape == (512, 3584)
    assert model.config.rope_parameters["rope_theta"] == 1_000_000.0


def test_values_come_from_the_seed(tiny_config: dict[str, Any]) -> None:
    first, same, other = (random_weights(tiny_config, seed, CPU, torch.bfloat16) for seed in (1, 1, 2))
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(first[name], same[name]) and not torch.equal(first[name], other[name])
    assert first[name].std().item() == pytest.approx(0.02, rel=0.1)
    assert first["model.norm.weight"].unique().tolist() == [1]
    assert {tensor.dtype for name, tensor in first.items() if not name.startswith("cls_head")} == {torch.bfloat16}
    assert first["cls_head.weight"].dtype == first["cls_head.bias"].dtype == torch.float32


@pytest.mark.parametrize("tied", [False, True])
def test_the_critic_is_as_if_loaded(tiny_config: dict[str, Any], tied: bool) -> None:
    config = tiny_config | {"tie_word_embeddings": tied}
    usual = critic_class(Qwen2Config)(Qwen2Config(**config)).eval()
    usual.load_state_dict(random_weights(config, 0, CPU, torch.float32), strict=not tied)
    model = random_critic(config, 0, CPU, torch.float32)
    ids, tags = torch.arange(30)[None], torch.tensor([3, 4])
    with torch.inference_mode():
        found, expected = model(ids, tag_ids=tags), usual(ids, tag_ids=tags)
    torch.testing.assert_close(found.label_logits, expected.label_logits)
    torch.testing.assert_close(found.tag_logits, expected.tag_logits)
