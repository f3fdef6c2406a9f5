"""The training loop: one or many devices through accelerate, resumable, with a log, validation and a plot."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader

from .. import quantization
from ..errors import DataError, InputError
from ..loading import load_model
from ..model import TokenCritic
from . import data, splits
from .checkpoint import load_base, load_tokenizer, save
from .config import TrainConfig
from .embedding import SentenceTeacher, SentenceTokenizer
from .examples import Examples, steps
from .losses import LossWeights, objective, skim_objective
from .validation import calibrate, calibrate_skim, evaluate


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
    tokenizer, text_tokenizer = load_tokenizer(config.base)
    model = load_base(config)
    if config.quantize:
        quantization.prepare_training(model)
    if config.gradient_checkpointing:
        # its name from transformers 5.2x on, else its old one
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()

    train_records, valid_records = data.read(paths)
    folders = [path for path in map(Path, paths) if path.is_dir()]
    texts = [text for folder in folders for text in splits.haystack(folder, "train")]
    sentences = SentenceTokenizer(config.sentence_teacher) if config.sentence_teacher else None
    examples = Examples(train_records, texts, text_tokenizer, config.mixture, config.seed, sentences)
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
        for layer in accelerator.unwrap_model(model).modules():
            if hasattr(layer, "self_attn"):
                layer.compile(dynamic=False)
    teacher = None
    if config.teacher:
        teacher = load_model(config.teacher, device=str(accelerator.device))
    sentence_teacher = SentenceTeacher(config.sentence_teacher, accelerator.device) if config.sentence_teacher else None

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
            parts = _losses(model, batch, config.loss, accelerator, teacher, sentence_teacher)
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
                trained = accelerator.unwrap_model(model)
                if config.skim is None:
                    figures = evaluate(trained, held, config, accelerator)
                    shown = f"F1 {figures['sentence_f1']:.2f}"
                else:
                    figures = calibrate_skim(trained, held, config, accelerator)[1]
                    shown = f"reads {figures['read']:.0%}"
                log.write({"step": step + 1, "validation": figures})
                bar.update(bar_task, description=f"training ({shown})")
            if (step + 1) % config.save_every == 0 and not last:
                accelerator.save_state(str(state))
                (state / "step").write_text(str(step + 1))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        trained = accelerator.unwrap_model(model)
        if config.skim is None:
            thresholds, shares = calibrate(trained, held, config, accelerator)
            log.write({"step": config.steps, "decision_thresholds": thresholds, "decision_shares": shares})
            trained.config.decision_thresholds, trained.config.decision_shares = thresholds, shares
        else:
            limit, figures = calibrate_skim(trained, held, config, accelerator)
            log.write({"step": config.steps, "skim_threshold": limit, **figures})
            how = {"threshold": limit, "share": config.skim_share, "window_size": config.skim_window}
            trained.config.skim = {**trained.config.skim, **how}
        if config.save_unrounded:
            save(trained, tokenizer, out / "unrounded", replace(config, quantize=False))
        save(trained, tokenizer, out, config)
        plot(out / "log.jsonl", out / "training.png")
    return out


def plot(log: Path, picture: Path) -> None:
    """Draws the log's losses and validation F1; does nothing without matplotlib."""
    with contextlib.suppress(ImportError):
        import matplotlib.pyplot as plt

        rows = [json.loads(line) for line in log.read_text().splitlines()]
        losses = [row for row in rows if "label" in row or "skim" in row]
        figures = [row for row in rows if "validation" in row]
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
        for name in ("label", "tag", "sentence", "ranking", "similarity", "teacher", "skim"):
            if losses and name in losses[0]:
                left.plot([row["step"] for row in losses], [row[name] for row in losses], label=name)
        left.set(xlabel="step", ylabel="loss", yscale="log", title="Training loss")
        left.legend()
        for name in ("sentence_f1", "sentence_recall", "word_f1", "read"):
            if figures and name in figures[0]["validation"]:
                values = [row["validation"][name] for row in figures]
                right.plot([row["step"] for row in figures], values, marker="o", label=name)
        right.set(xlabel="step", ylim=(0, 1), title="Validation")
        right.legend()
        figure.savefig(picture, dpi=110)
        plt.close(figure)


def _losses(
    model: Any,
    batch: dict[str, Tensor],
    weights: LossWeights,
    accelerator: Accelerator,
    teacher: TokenCritic | None,
    sentence_teacher: SentenceTeacher | None,
) -> dict[str, Tensor]:
    skim = accelerator.unwrap_model(model).skimmer is not None
    similarity = sentence_teacher(batch, batch["relevant"].shape) if sentence_teacher else None
    with accelerator.autocast():
        output = model(batch["input_ids"], tag_ids=batch["tag_ids"], skim=skim)
        expected = None
        if teacher is not None:
            with torch.no_grad():
                expected = teacher(batch["input_ids"], tag_ids=batch["tag_ids"])
    return skim_objective(output, batch) if skim else objective(output, batch, weights, expected, similarity)


def _groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices, others = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
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
