"""How good a critic is on validation windows, and the thresholds that make its own decision best there."""

from __future__ import annotations

from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor

from ..model import TokenCritic
from ..spans import O
from .config import TrainConfig
from .examples import Examples
from .losses import IGNORE, keep_scores, objective, pooled_logits


@torch.no_grad()
def predictions(
    model: TokenCritic, held: Examples, config: TrainConfig, accelerator: Accelerator
) -> tuple[float, dict[str, tuple[Tensor, Tensor]]]:
    """The mean loss, and (scores, truth) of all sentences and of all tokens (``word``) of the validation examples that are
    about sentences or about exact words."""
    model.eval()
    loss = 0.0
    found: dict[str, list[tuple[Tensor, Tensor]]] = {"sentence": [], "word": []}
    for index in range(config.validation_batches):
        batch = {name: tensor.to(accelerator.device) for name, tensor in held[index].items()}
        with accelerator.autocast():
            output = model(batch["input_ids"], tag_ids=batch["tag_ids"])
        loss += sum(float(part) for part in objective(output, batch, config.loss).values()) / config.validation_batches
        scores = keep_scores(output, batch["tag_ids"])
        pooled = pooled_logits(scores, batch["sentences"], batch["relevant"].shape[1]).sigmoid()
        judged = batch["relevant"] >= 0
        about_words = ~judged.any(1, keepdim=True)
        counted = (batch["labels"] != IGNORE) & about_words
        found["sentence"].append((pooled[judged].cpu(), (batch["relevant"][judged] == 1).cpu()))
        found["word"].append((scores[counted].cpu(), (batch["labels"][counted] != O).cpu()))
    model.train()
    joined = {unit: tuple(map(torch.cat, zip(*parts, strict=True))) for unit, parts in found.items()}
    return loss, joined  # type: ignore[return-value]


def evaluate(model: TokenCritic, held: Examples, config: TrainConfig, accelerator: Accelerator) -> dict[str, float]:
    """The validation loss, and precision, recall and F1 of sentences and words at a score of 0.5."""
    loss, found = predictions(model, held, config, accelerator)
    figures = {"loss": loss}
    for unit, (scores, truth) in found.items():
        names = (f"{unit}_precision", f"{unit}_recall", f"{unit}_f1")
        figures |= dict(zip(names, _quality(scores >= 0.5, truth), strict=True))
    return {name: round(value, 4) for name, value in figures.items()}


def calibrate(model: TokenCritic, held: Examples, config: TrainConfig, accelerator: Accelerator) -> dict[str, float]:
    """For each unit the threshold with the best F1 on validation windows, half of which hold nothing relevant."""
    with_nothing = Examples.like(held, replace(config.mixture, without_answer=0.5, synthetic=0.05))
    _, found = predictions(model, with_nothing, config, accelerator)
    grid = [step / 50 for step in range(3, 48)]
    best = {
        unit: max(grid, key=lambda limit: _quality(scores >= limit, truth)[2]) for unit, (scores, truth) in found.items()
    }
    return {"word": best["word"], **dict.fromkeys(("sentence", "line", "paragraph"), best["sentence"])}


def _quality(predicted: Tensor, actual: Tensor) -> tuple[float, float, float]:
    """Precision, recall, F1."""
    hits, chosen, true = (float(x.sum()) for x in (predicted & actual, predicted, actual))
    return hits / max(chosen, 1.0), hits / max(true, 1.0), 2 * hits / max(chosen + true, 1.0)
