"""A sentence-embedding model as a second teacher: which of the sentences that do not matter are at least about the query.

Labels say which sentences matter and call all others alike. An embedding model (Reimers & Gurevych 2019) was trained on a
billion pairs and orders those others, which is what a critic falls back on where it is unsure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ModelLoadError

LONGEST = 64  # tokens of a sentence that are read


class SentenceTokenizer:
    """The texts of windows to one padded batch; works in the processes that prepare data."""

    def __init__(self, name: str) -> None:
        from transformers import AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ModelLoadError(f"cannot load the tokenizer of the sentence teacher {name!r}: {error}") from error

    def __call__(self, windows: Sequence[Sequence[str]], width: int) -> dict[str, Tensor]:
        """``windows``: for each the query and then its sentences, fewer than ``width`` together.

        Returns:
            teacher_ids int64 [N, T], teacher_mask int64 [N, T], and teacher_places int64 [N]: window * width + number, where
            the query has number 0.
        """
        texts = [text for window in windows for text in window]
        encoded = self._tokenizer(
            texts, padding=True, pad_to_multiple_of=16, truncation=True, max_length=LONGEST, return_tensors="pt"
        )
        places = [row * width + number for row, window in enumerate(windows) for number in range(len(window))]
        return {
            "teacher_ids": encoded["input_ids"],
            "teacher_mask": encoded["attention_mask"],
            "teacher_places": torch.tensor(places),
        }


class SentenceTeacher:
    """Cosines between queries and sentences, by mean pooling."""

    def __init__(self, name: str, device: torch.device) -> None:
        from transformers import AutoModel

        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        try:
            self._model: Any = AutoModel.from_pretrained(name, dtype=dtype, trust_remote_code=False).eval().to(device)
        except (OSError, ValueError) as error:
            raise ModelLoadError(f"cannot load the sentence teacher {name!r}: {error}") from error

    @torch.no_grad()
    def __call__(self, batch: dict[str, Tensor], shape: torch.Size) -> Tensor:
        """float32 of ``shape`` [B, S + 1]: the cosine of each sentence with its window's query; 0 where there is none."""
        states = self._model(input_ids=batch["teacher_ids"], attention_mask=batch["teacher_mask"]).last_hidden_state.float()
        weights = batch["teacher_mask"][..., None].float()
        vectors = F.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)
        table = vectors.new_zeros(shape.numel(), vectors.shape[-1])
        table[batch["teacher_places"]] = vectors
        table = table.view(*shape, -1)
        return torch.einsum("bsh,bh->bs", table, table[:, 0])
