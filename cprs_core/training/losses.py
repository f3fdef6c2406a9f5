"""What training minimises: the paper's two token losses (section 2.3), two over sentences, and distillation.

The token losses teach where spans are and what they are. Users rank whole sentences under a budget, so two more losses act
on the pooled score of a sentence, exactly as inference pools it: one makes it a probability, one puts the sentences that
matter above the others of their window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model import CriticOutput
from ..spans import O

IGNORE = -100
SEEN = 0.5  # what a skimmer shall guess of what matters, though the critic itself misses it


@dataclass(frozen=True)
class LossWeights:
    """How much each part counts, and class weights of the token losses.

    Attributes:
        label, tag: the paper's two losses; label_classes weighs B, I, O, E, and tag_positive the tags against "outside".
        sentence, ranking: the two sentence losses.
        similarity: distillation from a sentence teacher, if there is one, whose cosines count in units of temperature.
        teacher: distillation from a critic, if there is one.
        focal: use the focal loss for the labels instead of cross-entropy.
    """

    label: float = 1.0
    tag: float = 1.0
    sentence: float = 0.5
    ranking: float = 0.3
    similarity: float = 0.2
    temperature: float = 0.1
    teacher: float = 1.0
    label_classes: tuple[float, float, float, float] = (2.0, 1.0, 1.0, 2.0)
    tag_positive: float = 2.0
    focal: bool = False


def critic_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    kind: str = "ce",
    weights: Sequence[float] | Tensor | None = None,
    gamma: float = 2.0,
) -> Tensor:
    """Cross-entropy or focal loss at each token's own position, averaged over the positions that count.

    Args:
        logits: [..., C]; targets: [...] class ids, ``IGNORE`` where there is nothing to learn.
        kind: ``"ce"``, weighted mean as in torch, or ``"focal"``, plain mean of ``(1 - exp(-l))^gamma * l`` with
            ``l = -w log p``, as in the released training code.
        weights: [C], one a class.
    """
    logits, targets = logits.flatten(0, -2).float(), targets.flatten()
    weight = None if weights is None else torch.as_tensor(weights, dtype=logits.dtype, device=logits.device)
    if kind == "ce":
        return F.cross_entropy(logits, targets, weight=weight, ignore_index=IGNORE)
    nll = F.cross_entropy(logits, targets, weight=weight, ignore_index=IGNORE, reduction="none")
    counted = (targets != IGNORE).sum().clamp(min=1)
    return ((1 - torch.exp(-nll)) ** gamma * nll).sum() / counted


def objective(
    output: CriticOutput,
    batch: dict[str, Tensor],
    weights: LossWeights,
    teacher: CriticOutput | None = None,
    similarity: Tensor | None = None,
) -> dict[str, Tensor]:
    """All parts of the loss, weighted, by name; their sum is what is minimised.

    Args:
        batch: labels [B, L] (0..3 or IGNORE); tags [B, L] (column of tag_ids or IGNORE); tag_ids [B, T + 1];
            sentences [B, L] (0 = none, else the number of the token's sentence in its window);
            relevant [B, S + 1] (1 = this sentence matters, 0 = it does not, -1 = no such sentence or not to be judged).
        teacher: what a critic says about the same windows.
        similarity: [B, S + 1], what a sentence teacher says about their sentences.
    """
    if output.tag_logits is None:
        raise ValueError("the critic was called without tag_ids")
    tag_logits = _mask_unused(output.tag_logits, batch["tag_ids"])
    outside = tag_logits.shape[-1] - 1
    tag_weights = torch.full((outside + 1,), weights.tag_positive, device=tag_logits.device)
    tag_weights[outside] = 1.0
    kind = "focal" if weights.focal else "ce"
    parts = {
        "label": weights.label * critic_loss(output.label_logits, batch["labels"], kind=kind, weights=weights.label_classes),
        "tag": weights.tag * critic_loss(tag_logits, batch["tags"], weights=tag_weights),
    }
    if weights.sentence or weights.ranking or similarity is not None:
        logits = pooled_logits(keep_scores(output, batch["tag_ids"]), batch["sentences"], batch["relevant"].shape[1])
        parts["sentence"] = weights.sentence * _sentence_loss(logits, batch["relevant"])
        parts["ranking"] = weights.ranking * _ranking_loss(logits, batch["relevant"])
        if similarity is not None:
            parts["similarity"] = weights.similarity * _similarity_loss(
                logits, similarity / weights.temperature, batch["relevant"]
            )
    if teacher is not None and teacher.tag_logits is not None:
        counted = batch["labels"] != IGNORE
        parts["teacher"] = weights.teacher * (
            _divergence(output.label_logits, teacher.label_logits, counted)
            + _divergence(tag_logits, _mask_unused(teacher.tag_logits, batch["tag_ids"]), counted)
        )
    return parts


def skim_objective(output: CriticOutput, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The loss of a skimmer: cross-entropy to the critic's own keep scores, but to at least ``SEEN`` where something is."""
    if output.skim_logits is None:
        raise ValueError("the critic was called without skim")
    counted = batch["labels"] != IGNORE
    relevant = counted & (batch["labels"] != O)
    expected = torch.maximum(keep_scores(output, batch["tag_ids"]).detach().float(), SEEN * relevant)
    loss = F.binary_cross_entropy_with_logits(output.skim_logits, expected, reduction="none")
    return {"skim": (loss * counted).sum() / counted.sum().clamp(min=1)}


def keep_scores(output: CriticOutput, tag_ids: Tensor) -> Tensor:
    """The score [B, L] of each token for any of its tags: P(not O) * P(not outside)."""
    if output.tag_logits is None:
        raise ValueError("the critic was called without tag_ids")
    outside = _mask_unused(output.tag_logits, tag_ids).softmax(-1)[..., -1]
    return (1 - output.label_logits.softmax(-1)[..., O]) * (1 - outside)


def pooled_logits(scores: Tensor, sentences: Tensor, count: int) -> Tensor:
    """Mean score of each sentence as a logit: [B, S + 1] from scores [B, L] and sentence numbers [B, L]."""
    total = torch.zeros(len(scores), count, device=scores.device).scatter_add(1, sentences, scores.float())
    size = torch.zeros_like(total).scatter_add(1, sentences, torch.ones_like(scores, dtype=torch.float32))
    return torch.logit(total / size.clamp(min=1), eps=1e-6)


def _sentence_loss(logits: Tensor, relevant: Tensor) -> Tensor:
    judged = relevant >= 0
    loss = F.binary_cross_entropy_with_logits(logits, relevant.clamp(min=0).float(), reduction="none")
    return (loss * judged).sum() / judged.sum().clamp(min=1)


def _ranking_loss(logits: Tensor, relevant: Tensor) -> Tensor:
    """For each sentence that matters, -log softmax against those of its window that do not; averaged over windows."""
    others = logits.masked_fill(relevant != 0, float("-inf")).logsumexp(1, keepdim=True)
    matters = (relevant == 1) & others.isfinite()
    loss = torch.where(matters, F.softplus(torch.where(matters, others, 0.0) - logits), 0.0)
    windows = matters.any(1).sum().clamp(min=1)
    return (loss.sum(1) / matters.sum(1).clamp(min=1)).sum() / windows


def _similarity_loss(logits: Tensor, expected: Tensor, relevant: Tensor) -> Tensor:
    """Kullback-Leibler divergence between two orders of the sentences that do not matter, as softmaxes over each window's;
    averaged over windows. It says nothing about how high they score, which is for the labels to say."""
    others = relevant == 0
    log_s, log_t = (x.masked_fill(~others, -1e9).log_softmax(1) for x in (logits, expected))
    divergence = (log_t.exp() * (log_t - log_s) * others).sum(1)
    windows = others.sum(1) > 1
    return (divergence * windows).sum() / windows.sum().clamp(min=1)


def _mask_unused(tag_logits: Tensor, tag_ids: Tensor) -> Tensor:
    """Rows with fewer tags than the widest are filled with id -1: those columns count for nothing."""
    return tag_logits.masked_fill((tag_ids < 0)[:, None, :], float("-inf"))


def _divergence(student: Tensor, teacher: Tensor, counted: Tensor) -> Tensor:
    """Kullback-Leibler divergence from teacher to student, mean over counted tokens."""
    log_s, log_t = student.float().log_softmax(-1), teacher.float().log_softmax(-1)
    difference = torch.where(log_t.isfinite(), log_t - log_s, 0.0)
    return ((log_t.exp() * difference).sum(-1) * counted).sum() / counted.sum().clamp(min=1)
