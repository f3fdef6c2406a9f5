"""The sentence teacher against one sentence at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from cprs_core.training.embedding import LONGEST, SentenceTeacher, SentenceTokenizer

WINDOWS = [
    ["When was it built?", "The bridge was built in 1822.", "Nobody knew. " * 40, "Short."],
    ["Who lives there?", "An old man.", "灯台守 – né en 1901!"],
]


def test_cosines_are_those_of_single_sentences(embedder: Path) -> None:
    batch = SentenceTokenizer(str(embedder))(WINDOWS, 5)
    assert batch["teacher_places"].tolist() == [0, 1, 2, 3, 5, 6, 7]
    assert batch["teacher_ids"].shape == batch["teacher_mask"].shape and batch["teacher_ids"].shape[1] == LONGEST
    cosines = SentenceTeacher(str(embedder), torch.device("cpu"))(batch, torch.Size((2, 5)))

    tokenizer, model = AutoTokenizer.from_pretrained(embedder), AutoModel.from_pretrained(embedder).eval()

    def vector(text: str) -> torch.Tensor:
        inputs = tokenizer(text, truncation=True, max_length=LONGEST, return_tensors="pt")
        return model(**inputs).last_hidden_state[0].mean(0).detach()

    for row, window in enumerate(WINDOWS):
        for column in range(5):
            expected = 0.0
            if column < len(window):
                expected = float(torch.cosine_similarity(vector(window[0]), vector(window[column]), dim=0))
            assert float(cosines[row, column]) == pytest.approx(expected, abs=1e-5)
