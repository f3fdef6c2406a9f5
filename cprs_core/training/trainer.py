"""The training loop: one or many devices through accelerate, resumable, with a log, validation and a plot."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from .. import quantization
from ..errors import DataError, InputError, ModelLoadError
from ..loading import load, quiet
from ..model import TokenCritic, critic_class
from ..spans import O
from ..tokens import TextTokenizer
from . import data, splits
from .examples import Examples, Mixture, steps
from .losses import IGNORE, LossWeights, keep_scores, objective, pooled_logits


@dataclass(frozen=True)
class TrainConfig:
    """A recipe; ``to_json`` and ``from_json`` keep it beside the weights that it made.

    Attributes:
        base: folder or hub id of a decoder (or of a critic, to go on from it).
        bidirectional: how many of the upper layers look both ways; None = what the base's config says, else 40 %.
        mixture: what windows hold. loss: what is minimised.
        quantize: train with 4-bit weights in the loop and save them so.
        teacher: a critic with the same tokenizer whose outputs are soft targets too.
    """

    base: str = ""
    bidirectional: int | None = None
    steps: int = 1000
    learning_rate: float = 4e-4
    warmup: int = 100
    final_rate: float = 0.05
    weight_decay: float = 0.05
    clip: float = 1.0
    seed: int = 0
    quantize: bool = False
    precision: str = "no"
    compile: bool = False
    gradient_checkpointing: bool = False
    teacher: str | None = None
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
            return cls(**values)
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"the recipe cannot be read: {error}") from error


def train(config: TrainConfig, paths: Sequence[str | Path], out: str | Path, *, resume: bool = False) -> Path:
    """Trains a critic and saves it to ``out`` (with ``recipe.json``, ``log.jsonl`` and, if matplotlib is there,
    ``training.png``); returns ``out``.

    Args:
        paths: JSONL files or data folders, see :mod:`.data`.
        resume: go on from the last checkpoint in ``out``.

    Raises:
        DataError, ModelLoadError, InputError: as the message says.
    """
    out = Path(out)
    accelerator = Accelerator(mixed_precision=config.precision)
    set_seed(config.seed)
    tokenizer, text_tokenizer = _tokenizer(config.base)
    model = _base_model(config)
    if config.quantize:
        quantization.prepare_training(model)
    if config.gradient_checkpointing:
        # its name from transformers 5.2x on, else its old one
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()

    train_records, valid_records = data.read(paths)
    folders = [path for path in map(Path, paths) if path.is_dir()]
    texts = [text for folder in folders for text in splits.haystack(folder, "train")]
    examples = Examples(train_records, texts, text_tokenizer, config.mixture, config.seed)
    held_texts = [text for folder in folders for text in splits.haystack(folder, "valid")]
    held = Examples(valid_records or train_records, held_texts, text_tokenizer, config.mixture, config.seed + 1)

    model.to(accelerator.device)
    optimizer = torch.optim.AdamW(
        _groups(model, config.weight_decay),
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        fused=accelerator.device.type == "cuda",
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    if config.compile:
        # Layer by layer: all layers share one compilation, where the whole model would take minutes for each length.
        torch._dynamo.config.recompile_limit = 64
        for layer in accelerator.unwrap_model(model).model.layers:
            layer.compile(dynamic=False)
    teacher = None
    if config.teacher:
        teacher = load(config.teacher, device=str(accelerator.device)).model

    first = 0
    state = out / "state"
    if resume:
        first = _resume(accelerator, state)
    out.mkdir(parents=True, exist_ok=True)
    log = _Log(out / "log.jsonl", accelerator.is_main_process, append=first > 0)
    if first == 0:
        (out / "recipe.json").write_text(config.to_json())
        log.write(_describe(model, train_records, valid_records, accelerator))
    loader = DataLoader(
        examples,
        batch_size=None,
        sampler=list(steps(first, config.steps, accelerator.process_index, accelerator.num_processes)),
        num_workers=config.workers,
        pin_memory=accelerator.device.type == "cuda",
        prefetch_factor=4 if config.workers else None,
    )
    started, seen, waited = time.perf_counter(), 0, 0.0
    running: dict[str, Tensor] = {}
    batches = iter(loader)
    with _bar(accelerator.is_main_process) as bar:
        bar_task = bar.add_task("training", total=config.steps, completed=first)
        for step in range(first, config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _schedule(step, config)
            mark = time.perf_counter()
            batch = {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in next(batches).items()}
            waited += time.perf_counter() - mark
            parts = _losses(model, batch, config.loss, accelerator, teacher)
            accelerator.backward(torch.stack(list(parts.values())).sum())
            norm = accelerator.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            seen += batch["input_ids"].numel() * accelerator.num_processes
            for name, value in {**parts, "norm": norm}.items():
                running[name] = running.get(name, torch.zeros((), device=value.device)) + value.detach()
            bar.advance(bar_task)
            last = step + 1 == config.steps
            if (step + 1) % config.log_every == 0 or last:
                count = (step % config.log_every) + 1
                means = {name: round(float(value) / count, 4) for name, value in running.items()}
                if not math.isfinite(sum(means.values())):
                    raise DataError(f"the loss is no longer finite at step {step + 1} ({means}); lower the learning rate")
                running = {}
                seconds = time.perf_counter() - started
                rate = {"tokens_per_second": round(seen / seconds), "waited": round(waited, 1)}
                log.write({"step": step + 1, "seconds": round(seconds, 1), **means, **rate})
            if (step + 1) % config.evaluate_every == 0 or last:
                figures = evaluate(accelerator.unwrap_model(model), held, config, accelerator)
                log.write({"step": step + 1, "validation": figures})
                bar.update(bar_task, description=f"training (F1 {figures['sentence_f1']:.2f})")
            if (step + 1) % config.save_every == 0 and not last:
                accelerator.save_state(str(state))
                (state / "step").write_text(str(step + 1))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        thresholds = calibrate(accelerator.unwrap_model(model), held, config, accelerator)
        log.write({"step": config.steps, "decision_thresholds": thresholds})
        accelerator.unwrap_model(model).config.decision_thresholds = thresholds
        save(accelerator.unwrap_model(model), tokenizer, out, config)
        plot(out / "log.jsonl", out / "training.png")
    return out


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


def save(model: TokenCritic, tokenizer: Any, out: Path, config: TrainConfig) -> None:
    """Writes a checkpoint that :func:`cprs_core.loading.load` reads: 4-bit if trained so, else bfloat16."""
    from safetensors.torch import save_file

    if config.quantize:
        quantization.finish_training(model)
    model.config.window_size = config.window_size
    model.config.architectures = [type(model).__name__]
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    if config.quantize:
        model.config.cprs_quantization = {"bits": 4, "group": quantization.GROUP}
        state = quantization.pack_state(state, quantization.quantizable(model))
    else:
        state = {name: t.to(torch.bfloat16 if t.ndim > 1 else torch.float32).contiguous() for name, t in state.items()}
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(out)
    tokenizer.save_pretrained(out)


def plot(log: Path, picture: Path) -> None:
    """Draws the log's losses and validation F1; does nothing without matplotlib."""
    with contextlib.suppress(ImportError):
        import matplotlib.pyplot as plt

        rows = [json.loads(line) for line in log.read_text().splitlines()]
        losses = [row for row in rows if "label" in row]
        figures = [row for row in rows if "validation" in row]
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
        for name in ("label", "tag", "sentence", "ranking", "teacher"):
            if losses and name in losses[0]:
                left.plot([row["step"] for row in losses], [row[name] for row in losses], label=name)
        left.set(xlabel="step", ylabel="loss", yscale="log", title="Training loss")
        left.legend()
        for name in ("sentence_f1", "sentence_recall", "word_f1"):
            values = [row["validation"][name] for row in figures]
            right.plot([row["step"] for row in figures], values, marker="o", label=name)
        right.set(xlabel="step", ylim=(0, 1), title="Validation")
        right.legend()
        figure.savefig(picture, dpi=110)
        plt.close(figure)


def _losses(
    model: Any, batch: dict[str, Tensor], weights: LossWeights, accelerator: Accelerator, teacher: TokenCritic | None
) -> dict[str, Tensor]:
    with accelerator.autocast():
        output = model(batch["input_ids"], tag_ids=batch["tag_ids"])
        expected = None
        if teacher is not None:
            with torch.no_grad():
                expected = teacher(batch["input_ids"], tag_ids=batch["tag_ids"])
    return objective(output, batch, weights, expected)


def _base_model(config: TrainConfig) -> TokenCritic:
    source = _source(config.base)
    try:
        base = AutoConfig.from_pretrained(**source)
        layers = base.num_hidden_layers
        upper = config.bidirectional
        if upper is None:
            upper = layers - getattr(base, "first_bidirectional_layer", round(layers * 0.6))
        if not 0 <= upper <= layers:
            raise InputError(f"bidirectional must be 0 to {layers}, the number of layers of {config.base}; got {upper}")
        base.first_bidirectional_layer = layers - upper
        if getattr(base, "cprs_quantization", None):
            raise ModelLoadError(f"{config.base} is a 4-bit checkpoint; train from full weights")
        if "gguf_file" in source:
            # transformers reads a GGUF file into plain weights, but marks the model as one that cannot be saved
            weights = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32).state_dict()
            source = {"pretrained_model_name_or_path": None, "state_dict": weights}
            if hasattr(base, "quantization_config"):
                del base.quantization_config
        with quiet():
            model: TokenCritic = critic_class(type(base)).from_pretrained(
                **source, config=base, dtype=torch.float32, attn_implementation="sdpa"
            )
        return model
    except (OSError, ValueError) as error:
        if isinstance(error, (InputError, ModelLoadError)):
            raise
        raise ModelLoadError(f"cannot load the base model {config.base!r}: {error}") from error


def _tokenizer(base: str) -> tuple[Any, TextTokenizer]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(**_source(base))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"cannot load the tokenizer of {base!r}: {error}") from error
    return tokenizer, TextTokenizer(tokenizer)


def _source(base: str) -> dict[str, Any]:
    """Arguments for ``from_pretrained``: a hub id, a folder, or one GGUF file in a folder."""
    path = Path(base)
    if path.suffix == ".gguf":
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name, "trust_remote_code": False}
    return {"pretrained_model_name_or_path": base, "trust_remote_code": False}


def _groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _schedule(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine down to ``final_rate``."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    return rise * (config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * step / config.steps)))


def _resume(accelerator: Accelerator, state: Path) -> int:
    if not (state / "step").is_file():
        raise InputError(f"nothing to resume: {state} holds no checkpoint; start without --resume")
    accelerator.load_state(str(state))
    return int((state / "step").read_text())


def _quality(predicted: Tensor, actual: Tensor) -> tuple[float, float, float]:
    """Precision, recall, F1."""
    hits, chosen, true = (float(x.sum()) for x in (predicted & actual, predicted, actual))
    return hits / max(chosen, 1.0), hits / max(true, 1.0), 2 * hits / max(chosen + true, 1.0)


def _describe(model: Any, train: Sequence[Any], valid: Sequence[Any], accelerator: Accelerator) -> dict[str, Any]:
    by_source: dict[str, int] = {}
    for record in train:
        by_source[record["source"]] = by_source.get(record["source"], 0) + 1
    device = torch.cuda.get_device_name() if accelerator.device.type == "cuda" else str(accelerator.device)
    return {
        "records": by_source,
        "validation_records": len(valid),
        "parameters": sum(p.numel() for p in model.parameters()),
        "device": f"{accelerator.num_processes} x {device}",
        "torch": torch.__version__,
    }


class _Log:
    """Appends rows to a JSONL file, from the main process only."""

    def __init__(self, path: Path, active: bool, append: bool) -> None:
        self.path, self.active = path, active
        if active and not append:
            path.write_text("")

    def write(self, row: dict[str, Any]) -> None:
        if self.active:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")


def _bar(active: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not active or "CPRS_NO_BAR" in os.environ)
