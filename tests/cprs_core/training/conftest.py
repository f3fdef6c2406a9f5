"""A tiny base model and a tiny task: keep the sentence that holds the query's word."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

TINY = Path(__file__).parents[2] / "data" / "tiny-checkpoint"
WORDS = ("library", "harbour", "garden", "market", "bridge", "station", "museum", "village")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of 3 layers with the tiny checkpoint's tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    config = LlamaConfig(
        vocab_size=1200,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=1196,
        eos_token_id=1196,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(TINY).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random sentence embedder with the tiny checkpoint's tokenizer."""
    folder = tmp_path_factory.mktemp("embedder")
    config = BertConfig(
        vocab_size=1200, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, pad_token_id=0
    )
    BertModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(TINY).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSONL file of 200 questions."""
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("data") / "toy.jsonl"
    with path.open("w") as file:
        for number in range(200):
            places = rng.sample(WORDS, 4)
            sentences = [f"The {place} was built in {rng.randint(1500, 1999)}." for place in places]
            context = " ".join(sentences)
            start = context.index(sentences[2])
            span = [start, start + len(sentences[2]), "evidence"]
            row = {"query": f"When was the {places[2]} built?", "context": context, "spans": [span], "doc": str(number)}
            file.write(json.dumps(row) + "\n")
    return path
