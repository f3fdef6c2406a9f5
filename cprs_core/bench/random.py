"""A critic of the released 7B's shape with random weights: as fast and as large, with nothing to download."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2Config

from ..model import LABELS, TokenCritic, critic_class

_STD = 0.02


def random_7b_config() -> dict[str, Any]:
    """The released checkpoint's shape, as in a config.json."""
    return {
        "architectures": ["Qwen2ForTokenCritic"],
        "model_type": "qwen2",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "max_position_embeddings": 131072,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "first_bidirectional_layer": 21,
        "window_size": 8192,
    }


def random_weights(config: dict[str, Any], seed: int, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Weights of a Qwen2 critic by their published names, drawn where they will be used."""
    generator = torch.Generator(device).manual_seed(seed)

    def drawn(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=device).normal_(0, _STD, generator=generator)

    hidden, inner, words = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    queries, keys = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    ones = torch.ones(hidden, dtype=dtype, device=device)
    weights = {"model.embed_tokens.weight": drawn(words, hidden)}
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        for name, size in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            weights[f"{layer}.self_attn.{name}.weight"] = drawn(size, hidden)
            weights[f"{layer}.self_attn.{name}.bias"] = drawn(size)
        weights[f"{layer}.self_attn.o_proj.weight"] = drawn(hidden, queries)
        weights[f"{layer}.mlp.gate_proj.weight"] = drawn(inner, hidden)
        weights[f"{layer}.mlp.up_proj.weight"] = drawn(inner, hidden)
        weights[f"{layer}.mlp.down_proj.weight"] = drawn(hidden, inner)
        weights[f"{layer}.input_layernorm.weight"] = ones.clone()
        weights[f"{layer}.post_attention_layernorm.weight"] = ones.clone()
    weights["model.norm.weight"] = ones
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = drawn(words, hidden)
    weights["cls_head.weight"] = drawn(len(LABELS), hidden, dtype=torch.float32)
    weights["cls_head.bias"] = drawn(len(LABELS), dtype=torch.float32)
    return weights


def random_critic(config: dict[str, Any], seed: int, device: torch.device, dtype: torch.dtype) -> TokenCritic:
    """The critic of :func:`random_weights` as transformers runs it."""
    settings = Qwen2Config(**config)
    with torch.device("meta"):
        model = critic_class(Qwen2Config)(settings)
    model.load_state_dict(random_weights(config, seed, device, dtype), assign=True, strict=not settings.tie_word_embeddings)
    model.tie_weights()
    decoder: Any = model.model
    with device:  # the angles of positions are in no state dict
        decoder.rotary_emb = type(decoder.rotary_emb)(settings)
    return model.eval().requires_grad_(False)
