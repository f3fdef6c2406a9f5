"""A causal language model of random weights, small enough to run many times."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM


def save_causal(folder: Path, tokenizer: Path) -> str:
    """Saves one with the tokenizer of another folder; returns its name."""
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=1200,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        eos_token_id=1196,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return str(folder)
