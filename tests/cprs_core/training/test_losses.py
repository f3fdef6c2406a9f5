"""The losses against plain loops and known limits."""

from __future__ import annotations

import math

import pytest
import torch

from cprs_core.model import CriticOutput
from cprs_core.training.losses import IGNORE, LossWeights, critic_loss, objective, pooled_logits


def test_cross_entropy_and_focal_ignore_what_is_ignored() -> None:
    logits = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 1, 2, 3, IGNORE], [2, 2, IGNORE, IGNORE, IGNORE]])
    weights = [2.0, 1.0, 0.5, 3.0]
    total = norm = focal = 0.0
    for row in range(2):
        for column in range(5):
            if (target := int(targets[row, column])) != IGNORE:
                loss = -float(logits[row, column].log_softmax(-1)[target])
                total, norm = total + weights[target] * loss, norm + weights[target]
                focal += (1 - math.exp(-weights[target] * loss)) ** 2 * weights[target] * loss
    assert float(critic_loss(logits, targets, weights=weights)) == pytest.approx(total / norm, rel=1e-5)
    assert float(critic_loss(logits, targets, kind="focal", weights=weights)) == pytest.approx(focal / 6, rel=1e-5)
    nothing = torch.full_like(targets, IGNORE)
    assert float(critic_loss(logits, nothing, kind="focal")) == 0.0


def test_pooled_logits_are_means() -> None:
    scores = torch.tensor([[0.2, 0.4, 0.9, 0.5]])
    pooled = pooled_logits(scores, torch.tensor([[1, 1, 2, 0]]), 4).sigmoid()
    assert pooled[0].tolist() == pytest.approx([0.5, 0.3, 0.9, 0.0], abs=1e-5)


def _batch(tag_ids: list[list[int]]) -> dict[str, torch.Tensor]:
    last = len(tag_ids[0]) - 1
    return {
        "labels": torch.tensor([[IGNORE, 0, 3, 2, 2, 2]]),
        "tags": torch.tensor([[IGNORE, 0, 0, last, last, last]]),
        "tag_ids": torch.tensor(tag_ids),
        "sentences": torch.tensor([[0, 1, 1, 2, 2, 2]]),
        "relevant": torch.tensor([[-1, 1, 0, -1]]),
    }


def _output(good: bool, columns: int) -> CriticOutput:
    labels = torch.full((1, 6, 4), -4.0)
    tags = torch.full((1, 6, columns), -4.0)
    for column, (label, tag) in enumerate([(2, -1), (0, 0), (3, 0), (2, -1), (2, -1), (2, -1)]):
        labels[0, column, label if good else 2 - label] = 4.0
        tags[0, column, tag if good else -1 - tag] = 4.0
    return CriticOutput(torch.zeros(1, 6, 2), labels, tags)


def test_right_answers_cost_less_in_every_part() -> None:
    batch = _batch([[5, 9]])
    right, wrong = (objective(_output(good, 2), batch, LossWeights()) for good in (True, False))
    assert set(right) == {"label", "tag", "sentence", "ranking"}
    for name in right:
        assert float(right[name]) < 0.1 < 0.3 < float(wrong[name]), name


def test_unused_tag_columns_count_for_nothing() -> None:
    narrow, wide = _output(True, 2), _output(True, 3)
    assert wide.tag_logits is not None
    wide.tag_logits[..., 1] = 50.0  # a column that is only filled up
    first, second = objective(narrow, _batch([[5, 9]]), LossWeights()), objective(wide, _batch([[5, -1, 9]]), LossWeights())
    assert [float(first[name]) for name in first] == pytest.approx([float(second[name]) for name in second], abs=1e-6)


def test_a_teacher_costs_nothing_where_it_agrees() -> None:
    batch = _batch([[5, 9]])
    same = objective(_output(True, 2), batch, LossWeights(), teacher=_output(True, 2))
    other = objective(_output(True, 2), batch, LossWeights(), teacher=_output(False, 2))
    assert float(same["teacher"]) == pytest.approx(0, abs=1e-6) and float(other["teacher"]) > 1


def test_the_sentence_teacher_orders_only_what_does_not_matter() -> None:
    batch = _batch([[5, 9]])
    batch["sentences"] = torch.tensor([[0, 1, 2, 3, 4, 4]])
    batch["relevant"] = torch.tensor([[-1, 1, 0, 0, 0, -1]])
    output = _output(True, 2)
    output.label_logits.mul_(0.2)
    output.tag_logits.mul_(0.2)[..., 0] += torch.tensor([0.0, 0.1, -0.5, 1.0, 2.0, 2.5])
    cosines = torch.tensor([[0.0, 0.9, 0.4, 0.5, 0.2, 0.0]])
    part = objective(output, batch, LossWeights(similarity=0.5, temperature=0.2), similarity=cosines)["similarity"]

    scores = (1 - output.label_logits.softmax(-1)[0, :, 2]) * output.tag_logits.softmax(-1)[0, :, 0]
    means = [float(scores[2]), float(scores[3]), float(scores[4:].mean())]
    student = [mean / (1 - mean) for mean in means]  # exp of the logit
    teacher = [math.exp(cosine / 0.2) for cosine in (0.4, 0.5, 0.2)]
    expected = sum(
        t / sum(teacher) * math.log((t / sum(teacher)) / (s / sum(student))) for s, t in zip(student, teacher, strict=True)
    )
    assert float(part) == pytest.approx(0.5 * expected, rel=1e-4)
