"""What is compared: the straightforward way, and the compressor in each dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .. import devices, files, loading
from ..compressor import ContextCompressor
from ..models import BUNDLED, DEFAULT_MODEL
from ..tokens import TextTokenizer
from . import random as random_model
from .options import RANDOM_7B, Options
from .plain import DenseScorer

SEED = 0  # of random weights and of texts


@dataclass(frozen=True)
class Side:
    """``"plain bfloat16"``: the straightforward way, ``"cprs float8"``: the compressor, ``"skimming bfloat16"``: the
    compressor, which skims long texts first, if the model can."""

    way: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.way} {self.dtype}"

    @property
    def is_plain(self) -> bool:
        return self.way == "plain"

    @property
    def skims(self) -> bool:
        return self.way == "skimming"


def sides(options: Options) -> list[Side]:
    """What is measured, in order."""
    plain = [Side("plain", options.baseline_dtype)] if options.baseline else []
    skims = options.model != RANDOM_7B and loading.load_skim(options.model) is not None
    skimming = [Side("skimming", dtype) for dtype in options.dtypes if skims]
    return plain + [Side("cprs", dtype) for dtype in options.dtypes] + skimming


def open_side(side: Side, options: Options) -> ContextCompressor:
    """Loads what a side needs."""
    if side.is_plain:
        return open_plain(side.dtype, options.baseline_window, options)
    places = devices.resolve_devices(options.device)
    if options.model == RANDOM_7B:
        config = random_model.random_7b_config()
        checkpoint = loading.assemble(
            RANDOM_7B,
            config,
            random_model.random_weights(config, SEED, places[0], _weights_dtype(side.dtype, places[0])),  # kept by nobody
            _tokenizer(RANDOM_7B),
            devices=places,
            dtype=side.dtype,
        )
    else:
        checkpoint = loading.load(options.model, device=places, dtype=side.dtype, skim=side.skims)
    return ContextCompressor(checkpoint, window_size=options.window_size)


def open_plain(dtype: str, window_size: int | None, options: Options) -> ContextCompressor:
    """The straightforward way: the same but for the scorer, whose windows run one by one."""
    device = devices.resolve_devices(options.device)[0]
    if options.model == RANDOM_7B:
        config = random_model.random_7b_config()
        model = random_model.random_critic(config, SEED, device, devices.DTYPES[dtype])
    else:
        model = loading.load_model(options.model, device=device, dtype=dtype)
    settings: Any = model.config
    has_tags = not getattr(settings, "ignore_lm_head", False)
    scorers = [DenseScorer(model, has_tags=has_tags)]
    checkpoint = loading.checkpoint(options.model, settings.to_dict(), _tokenizer(options.model), scorers, has_tags)
    return ContextCompressor(checkpoint, window_size=window_size, batch_tokens=1)


def _tokenizer(model: str) -> TextTokenizer:
    name = DEFAULT_MODEL if model == RANDOM_7B else model
    return files.read_tokenizer(str(BUNDLED.get(name, name)))


def _weights_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Of full weights; those of eight bits are made of what suits the device."""
    return devices.DTYPES.get(dtype) or (torch.float32 if device.type == "cpu" else torch.bfloat16)
