"""Runs windows through the critic: in batches of like length, in order, within a token budget that adapts to memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .errors import OutOfMemoryError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .model import TokenCritic

_LOOKAHEAD = 256  # windows sorted by length at a time: how far results may run ahead of their turn
_PADDING = 1.15  # the longest window of a batch may be this much longer than its shortest


@dataclass(frozen=True)
class Window:
    """``ids`` int32 [prefix + n], of which the first ``prefix`` are instruction and query; ``tag_ids`` [T + 1]."""

    ids: NDArray[np.int32]
    prefix: int
    tag_ids: NDArray[np.int32]


@dataclass(frozen=True)
class WindowScores:
    """Probabilities of a window's n own tokens: label_probs float32 [n, 4], tag_probs float32 [n, T]."""

    label_probs: NDArray[np.float32]
    tag_probs: NDArray[np.float32]


class Engine:
    """Args:
    has_tags: whether the LM head scores tags; if not, all tag probabilities are 1.
    batch_tokens: tokens of a batch, padding included; halved for good when memory runs out. None = by device.
    """

    def __init__(self, model: TokenCritic, *, has_tags: bool = True, batch_tokens: int | None = None) -> None:
        self.model, self.has_tags = model, has_tags
        embedding: Any = model.get_input_embeddings()
        self.device: torch.device = embedding.weight.device
        places: Any = getattr(model, "hf_device_map", {})
        if self.device.type == "meta":  # offloaded layers: their inputs start on the first device that computes
            self.device = torch.device(next((place for place in places.values() if place not in ("disk", "cpu")), "cpu"))
        # A CPU gains nothing from a batch, and loses by the mask that unequal windows need.
        self.batch_tokens = batch_tokens or (1 if self.device.type == "cpu" else 65536)

    def run(self, windows: Iterable[Window]) -> Iterator[WindowScores]:
        """Scores windows; results come in the order of the windows, a few at a time."""
        source = iter(windows)
        while ahead := list(islice(source, _LOOKAHEAD)):
            results: dict[int, WindowScores] = {}
            turn = 0
            for batch in self._batches(ahead):
                results.update(zip(batch, self._forward([ahead[i] for i in batch]), strict=True))
                while turn in results:
                    yield results.pop(turn)
                    turn += 1

    def _batches(self, windows: list[Window]) -> Iterator[list[int]]:
        """Indices of windows that run together: alike in length and number of tags, earliest batches first."""
        by_length = sorted(range(len(windows)), key=lambda i: (len(windows[i].tag_ids), len(windows[i].ids)))
        batches: list[list[int]] = []
        for i in by_length:
            first = windows[batches[-1][0]] if batches else None
            size = len(windows[i].ids)
            if (
                first is None
                or len(first.tag_ids) != len(windows[i].tag_ids)
                or size > _PADDING * len(first.ids)
                or size * (len(batches[-1]) + 1) > self.batch_tokens
            ):
                batches.append([])
            batches[-1].append(i)
        yield from sorted(batches, key=min)

    def _forward(self, windows: list[Window]) -> list[WindowScores]:
        try:
            return self._compute(windows)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not isinstance(error, torch.OutOfMemoryError) and "alloc" not in str(error):
                raise
            if len(windows) == 1:
                raise OutOfMemoryError(
                    f"one window of {len(windows[0].ids)} tokens does not fit into the memory of {self.device}; load the "
                    "model with a smaller window_size, in bfloat16, or on another device"
                ) from error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(windows) // 2
        self.batch_tokens = min(self.batch_tokens, max(len(w.ids) for w in windows) * half)
        return self._forward(windows[:half]) + self._forward(windows[half:])

    @torch.inference_mode()
    def _compute(self, windows: list[Window]) -> list[WindowScores]:
        lengths = [len(window.ids) for window in windows]
        ids = np.zeros((len(windows), max(lengths)), np.int64)
        mask = np.zeros_like(ids)
        for row, window in enumerate(windows):
            ids[row, : lengths[row]] = window.ids
            mask[row, : lengths[row]] = 1
        tag_ids = torch.from_numpy(np.stack([window.tag_ids for window in windows]).astype(np.int64))
        output = self.model(
            torch.from_numpy(ids).to(self.device),
            attention_mask=None if min(lengths) == max(lengths) else torch.from_numpy(mask).to(self.device),
            tag_ids=tag_ids.to(self.device) if self.has_tags else None,
        )
        labels = output.label_logits.softmax(-1).cpu().numpy()
        if output.tag_logits is None:
            tags = np.ones((*ids.shape, tag_ids.shape[1] - 1), np.float32)
        else:
            tags = output.tag_logits.softmax(-1)[..., :-1].cpu().numpy()
        parts = [
            (row, slice(window.prefix, length)) for row, (window, length) in enumerate(zip(windows, lengths, strict=True))
        ]
        return [WindowScores(labels[row, part].copy(), tags[row, part].copy()) for row, part in parts]
