"""The straightforward way gives what the critic's own pass and the fast scorer give, under masks that are written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cprs_core import loading
from cprs_core.bench.options import Options
from cprs_core.bench.plain import DenseScorer
from cprs_core.bench.sides import open_plain, open_side, sides
from cprs_core.model import TokenCritic
from cprs_core.scoring import Window


def windows(*lengths: int) -> list[Window]:
    rng = np.random.default_rng(0)
    prefix, tag_ids = rng.integers(0, 1000, 9, dtype=np.int32), np.array([5, 7, 11], np.int32)
    return [Window(rng.integers(0, 1000, n, dtype=np.int32), prefix, tag_ids) for n in lengths]


@pytest.fixture(scope="module")
def model(tiny_path: Path) -> TokenCritic:
    return loading.load_model(tiny_path, device="cpu")


def test_it_is_the_critics_own_pass(model: TokenCritic) -> None:
    (window,) = windows(40)
    row = torch.from_numpy(np.concatenate([window.prefix, window.ids])).long()[None]
    with torch.inference_mode():
        output = model(row, tag_ids=torch.tensor([5, 7, 11]))
    expected = torch.cat([output.label_logits.softmax(-1), output.tag_logits.softmax(-1)[..., :-1]], -1)[0, 9:]
    found = DenseScorer(model).score([window], {})
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    without = DenseScorer(model, has_tags=False).score([window], {})
    assert torch.equal(without, torch.cat([found[:, :4], torch.ones(40, 2)], 1))


def test_it_agrees_with_the_fast_scorer(options: Callable[..., Options], prose: str) -> None:
    plain, fast = (open_side(side, options()).scores(prose, "Who owns the house?") for side in sides(options()))
    np.testing.assert_allclose(plain.label_probs, fast.label_probs, atol=1e-4)
    np.testing.assert_allclose(plain.tag_probs, fast.tag_probs, atol=1e-4)


def test_masks_are_dense_and_windows_run_one_by_one(
    options: Callable[..., Options], prose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks: list[Any] = []
    lengths: list[int] = []
    attention = torch.nn.functional.scaled_dot_product_attention

    def spy(*args: Any, attn_mask: Any = None, **options: Any) -> Any:
        masks.append(attn_mask)
        assert not options.get("is_causal")
        return attention(*args, attn_mask=attn_mask, **options)

    score = DenseScorer.score

    def listed(self: DenseScorer, windows: Sequence[Window], memory: Any) -> torch.Tensor:
        lengths.extend(map(len, windows))
        return score(self, windows, memory)

    monkeypatch.setattr(DenseScorer, "score", listed)
    compressor = open_plain("float32", 256, options())
    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", spy)
    compressor.compress(prose, "Who owns the house?")

    layers, border = 28, 21
    assert len(lengths) > 2 and max(lengths) <= 256 and len(masks) == layers * len(lengths)
    for number, length in enumerate(lengths):
        of_window = masks[number * layers : (number + 1) * layers]
        assert all(mask.dtype == torch.bool and mask.shape == (1, 1, length, length) for mask in of_window)
        assert all(torch.equal(mask, torch.ones_like(mask).tril()) for mask in of_window[:border])
        assert all(mask.all() for mask in of_window[border:])
