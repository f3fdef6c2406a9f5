"""How good a critic is on validation windows, and the thresholds that make its own decision best there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader

from ..model import TokenCritic
from ..skim import threshold
from ..spans import O
from .config import TrainConfig
from .examples import Examples
from .losses import IGNORE, keep_scores, objective, pooled_logits

MOST_OF_NOTHING = 0.01  # share of a text without an answer that the model may keep, on average
NEARLY = 0.01  # F1


@dataclass(frozen=True)
class Predictions:
    """The scores and the truth of n sentences or tokens, and which of the windows each is in: all [n]."""

    scores: Tensor
    truth: Tensor
    windows: Tensor


@torch.no_grad()
def predictions(
    model: TokenCritic, held: Examples, config: TrainConfig, accelerator: Accelerator
) -> tuple[float, dict[str, Predictions]]:
    """The mean loss, and what is predicted for all sentences and for all tokens (``word``) of the validation examples that
    are about sentences or about exact words."""
    model.eval()
    loss, windows = 0.0, 0
    found: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {"sentence": [], "word": []}

    def add(unit: str, scores: Tensor, truth: Tensor, counted: Tensor) -> None:
        rows = counted.nonzero()[:, 0] + windows
        found[unit].append((scores[counted].cpu(), truth[counted].cpu(), rows.cpu()))

    order = range(config.validation_batches)
    for batch in DataLoader(held, batch_size=None, sampler=order, num_workers=config.workers):
        batch = {name: tensor.to(accelerator.device) for name, tensor in batch.items()}
        with accelerator.autocast():
            output = model(batch["input_ids"], tag_ids=batch["tag_ids"])
        loss += sum(float(part) for part in objective(output, batch, config.loss).values()) / config.validation_batches
        scores = keep_scores(output, batch["tag_ids"])
        pooled = pooled_logits(scores, batch["sentences"], batch["relevant"].shape[1]).sigmoid()
        judged = batch["relevant"] >= 0
        about_words = ~judged.any(1, keepdim=True)
        add("sentence", pooled, batch["relevant"] == 1, judged)
        add("word", scores, batch["labels"] != O, (batch["labels"] != IGNORE) & about_words)
        windows += len(judged)
    model.train()
    return loss, {unit: Predictions(*map(torch.cat, zip(*parts, strict=True))) for unit, parts in found.items()}


def evaluate(model: TokenCritic, held: Examples, config: TrainConfig, accelerator: Accelerator) -> dict[str, float]:
    """The validation loss, and precision, recall and F1 of sentences and words at a score of 0.5."""
    loss, found = predictions(model, held, config, accelerator)
    figures = {"loss": loss}
    for unit, seen in found.items():
        names = (f"{unit}_precision", f"{unit}_recall", f"{unit}_f1")
        figures |= dict(zip(names, _quality(seen.scores >= 0.5, seen.truth), strict=True))
    return {name: round(value, 4) for name, value in figures.items()}


def calibrate(
    model: TokenCritic, held: Examples, config: TrainConfig, accelerator: Accelerator
) -> tuple[dict[str, float], dict[str, float]]:
    """For each unit, the score and the share of the best score in the text from which the model should keep something.

    Chosen on validation windows, half of which hold nothing relevant: the best F1 where something is (:func:`best_rule`),
    with no more than ``MOST_OF_NOTHING`` kept where nothing is.
    """
    with_nothing = Examples.like(held, replace(config.mixture, without_answer=0.5, synthetic=0.05))
    _, found = predictions(model, with_nothing, config, accelerator)
    by_unit = {"word": best_rule(found["word"], shares=(0.0,))}
    shares = [step / 10 for step in range(10)]
    by_unit |= dict.fromkeys(("sentence", "line", "paragraph"), best_rule(found["sentence"], shares))
    return {unit: rule[0] for unit, rule in by_unit.items()}, {unit: rule[1] for unit, rule in by_unit.items()}


@torch.no_grad()
def calibrate_skim(
    model: TokenCritic, held: Examples, config: TrainConfig, accelerator: Accelerator
) -> tuple[float, dict[str, float]]:
    """The guess from which a sentence is read, and what is read and lost then.

    Chosen on validation windows of all lengths, half of which hold nothing relevant, so that at most ``config.skim_lost``
    of the relevant tokens that the critic itself would keep is not read.
    """
    model.eval()
    least = min((getattr(model.config, "decision_thresholds", None) or {"sentence": 0.5}).values())
    with_nothing = Examples.like(held, replace(config.mixture, without_answer=0.5, synthetic=0.05))
    found: list[tuple[Tensor, ...]] = []
    loader = DataLoader(with_nothing, batch_size=None, sampler=range(config.validation_batches), num_workers=config.workers)
    for batch in loader:
        batch = {name: tensor.to(accelerator.device) for name, tensor in batch.items()}
        with accelerator.autocast():
            output = model(batch["input_ids"], tag_ids=batch["tag_ids"], skim=True)
        sentences, none = batch["sentences"], torch.zeros(batch["relevant"].shape, device=accelerator.device)
        counted = sentences > 0
        guesses = none.scatter_reduce(1, sentences, output.skim_logits.sigmoid() * counted, "amax")
        found_by_all = (batch["labels"] != O) & (keep_scores(output, batch["tag_ids"]) >= least)
        relevant = none.scatter_add(1, sentences, (counted & found_by_all).float())
        sizes = none.scatter_add(1, sentences, counted.float())
        found.append(tuple(x[sizes > 0].cpu() for x in (guesses, relevant, sizes)))
    model.train()
    guesses, relevant, sizes = map(torch.cat, zip(*found, strict=True))
    return threshold(guesses, relevant, sizes, config.skim_lost)


def best_rule(found: Predictions, shares: Sequence[float]) -> tuple[float, float]:
    """The limit and the share that :func:`calibrate` looks for. Of rules that are nearly equal (``NEARLY``), the one with
    the lowest limit: texts unlike those trained on score lower, if in as good an order, so a high limit is worth less there
    than validation shows."""
    rules = [(limit / 20, share) for limit in range(1, 20) for share in shares]
    outcomes = {rule: decision(found, *rule) for rule in rules}
    allowed = [rule for rule in rules if outcomes[rule][1] <= MOST_OF_NOTHING]
    if not allowed:
        return min(rules, key=lambda rule: outcomes[rule][1])
    best = max(outcomes[rule][0] for rule in allowed)
    near = [rule for rule in allowed if outcomes[rule][0] >= best - NEARLY]
    return min(near, key=lambda rule: (rule[0], -outcomes[rule][0]))


def decision(found: Predictions, limit: float, share: float) -> tuple[float, float]:
    """What keeping all that scores ``limit``, and ``share`` of its window's best, comes to.

    Returns:
        The mean F1 of windows where something is relevant, and the mean share kept of the others; 0 if there are none.
    """
    present, rows = torch.unique(found.windows, return_inverse=True)
    zeros = torch.zeros(len(present), dtype=found.scores.dtype)
    best = zeros.scatter_reduce(0, rows, found.scores, "amax")
    kept = found.scores >= (share * best[rows]).clamp(min=limit)
    hits, true, chosen, size = (
        zeros.scatter_add(0, rows, x.to(zeros)) for x in (kept & found.truth, found.truth, kept, torch.ones_like(kept))
    )
    some = true > 0
    f1, needless = (2 * hits / (true + chosen))[some], (chosen / size)[~some]
    return (float(f1.mean()) if len(f1) else 0.0), (float(needless.mean()) if len(needless) else 0.0)


def _quality(predicted: Tensor, actual: Tensor) -> tuple[float, float, float]:
    """Precision, recall, F1."""
    hits, chosen, true = (float(x.sum()) for x in (predicted & actual, predicted, actual))
    return hits / max(chosen, 1.0), hits / max(true, 1.0), 2 * hits / max(chosen + true, 1.0)
