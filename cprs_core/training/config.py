"""TrainConfig: everything that decides what a training run makes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..errors import InputError
from .examples import Mixture
from .losses import LossWeights


@dataclass(frozen=True)
class TrainConfig:
    """A recipe; ``to_json`` and ``from_json`` keep it beside the weights that it made.

    Attributes:
        base: folder or hub id of a decoder (or of a critic, to go on from it).
        average_with: critics trained from the same base, whose weights are averaged with it to begin with (model soup,
            arXiv 2203.05482).
        bidirectional: how many of the upper layers look both ways; None = what the base's config says, else 40 %.
        skim: train a skimmer (:mod:`cprs_core.skim`) behind so many causal layers of a finished critic, whose own weights
            stay as they are; None = train the critic. skim_layers: how many layers it has.
        skim_lost: the share of what is relevant that may not be read, on validation windows. skim_share: so much of a text
            is read in any case. skim_window: tokens of the skimmer's windows.
        mixture: what windows hold. loss: what is minimised.
        quantize: train with 4-bit weights in the loop and save them so.
        save_unrounded: also save the weights as they are before the rounding, in bfloat16, to the folder ``unrounded``.
        teacher: a critic with the same tokenizer whose outputs are soft targets too.
        sentence_teacher: an embedding model (folder or hub id) that orders the sentences that do not matter.
    """

    base: str = ""
    average_with: tuple[str, ...] = ()
    bidirectional: int | None = None
    skim: int | None = None
    skim_layers: int = 3
    skim_lost: float = 0.01
    skim_share: float = 0.15
    skim_window: int = 1024
    steps: int = 1000
    learning_rate: float = 4e-4
    warmup: int = 100
    final_rate: float = 0.05
    weight_decay: float = 0.05
    clip: float = 1.0
    seed: int = 0
    quantize: bool = False
    save_unrounded: bool = False
    precision: str = "no"
    compile: bool = False
    gradient_checkpointing: bool = False
    teacher: str | None = None
    sentence_teacher: str | None = None
    window_size: int = 2048
    workers: int = 0
    log_every: int = 20
    evaluate_every: int = 500
    save_every: int = 500
    validation_batches: int = 16
    mixture: Mixture = field(default_factory=Mixture)
    loss: LossWeights = field(default_factory=LossWeights)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, **overrides: Any) -> TrainConfig:
        """Reads a recipe; ``overrides`` that are not None win.

        Raises:
            InputError: an unknown field or no JSON object.
        """
        try:
            values = json.loads(text)
            values |= {name: value for name, value in overrides.items() if value is not None}
            unknown = set(values) - {f.name for f in fields(cls)}
            if unknown:
                raise InputError(f"unknown recipe fields {', '.join(sorted(unknown))}")
            if "mixture" in values:
                lengths = {int(k): v for k, v in values["mixture"].pop("lengths", Mixture().lengths).items()}
                values["mixture"] = Mixture(lengths=lengths, **values["mixture"])
            if "loss" in values:
                loss = values["loss"]
                if "label_classes" in loss:
                    loss["label_classes"] = tuple(loss["label_classes"])
                values["loss"] = LossWeights(**loss)
            values["average_with"] = tuple(values.get("average_with", ()))
            return cls(**values)
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"the recipe cannot be read: {error}") from error
