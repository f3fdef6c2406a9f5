"""Checkpoints to models: the default one from inside the package, others from a folder or the Hugging Face hub.

Only safetensors are read and no code of a checkpoint is ever run. A checkpoint may hold full weights (the published
layout) or 4-bit ones (``cprs_core.quantization``); which one its config says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig
from transformers.utils import logging as transformers_logging

from .errors import DeviceError, ModelLoadError
from .model import TokenCritic, critic_class
from .models import BUNDLED, DEFAULT_MODEL
from .quantization import unpack_state
from .scoring import Scorer, scorer
from .tokens import TextTokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# The published checkpoint's config has no field for the border; it is part of its method (paper section 2.2).
_PUBLISHED_BORDER = {"Qwen2ForCausalLMandBIO": 21}


@dataclass(frozen=True)
class Checkpoint:
    """A loaded critic with its tokenizer.

    Attributes:
        scorer: runs windows through it.
        has_tags: whether the LM head is a usable token critic; if not, the label head alone scores.
        window_size: tokens of a window, prefix included.
        thresholds: for each unit of instructions, the calibrated score from which it is kept when the model decides;
            where there is none, the label head's argmax decides, as in the published checkpoint.
        shares: for each unit, the share of the best score that something must reach besides; none where it is missing.
    """

    name: str
    model: TokenCritic
    tokenizer: TextTokenizer
    scorer: Scorer
    has_tags: bool
    window_size: int
    thresholds: Mapping[str, float]
    shares: Mapping[str, float]


def load(
    name: str | Path = DEFAULT_MODEL,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: str | dict[str, Any] | None = None,
    attn_implementation: str | None = None,
    revision: str = "main",
) -> Checkpoint:
    """Loads a checkpoint for inference.

    Args:
        name: ``"cprs-small"``, a local folder or a hub id.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; None = a GPU if there is one.
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"``; None = float32 with ``device="cpu"``, else bfloat16.
        device_map: places layers through accelerate (``"auto"``) instead of ``device``.
        attn_implementation: ``"sdpa"`` (None), ``"eager"``, ``"flash_attention_2"`` ... as in transformers.

    Raises:
        ModelLoadError: missing, broken or unsupported checkpoint.
        DeviceError: no such device, dtype or attention kernel here.
    """
    if device is not None and device_map is not None:
        raise DeviceError("device and device_map contradict each other; give one of them")
    if str(name).startswith(("/", ".", "~")) and not Path(name).is_dir():
        raise ModelLoadError(f"there is no folder {name}; give a folder with config.json and model.safetensors, or a hub id")
    target = None if device_map is not None else resolve_device(device)
    torch_dtype = _resolve_dtype(dtype, target)
    source = str(BUNDLED.get(str(name), name))
    with quiet(), _explained(str(name)):
        config = _config(source, revision)
        tokenizer = TextTokenizer(AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False))
        options: dict[str, Any] = {"dtype": torch_dtype, "attn_implementation": attn_implementation or "sdpa"}
        options["ignore_mismatched_sizes"] = True  # refused below, by name
        if device_map is not None:
            options["device_map"] = device_map
        if getattr(config, "cprs_quantization", None):
            options["state_dict"] = unpack_state(read_weights(source, revision), torch_dtype)
            weights_from: str | None = None
        else:
            options |= {"revision": revision, "use_safetensors": True}
            weights_from = source
        model: TokenCritic
        info: dict[str, Any]
        model, info = critic_class(type(config)).from_pretrained(
            weights_from, config=config, output_loading_info=True, trust_remote_code=False, **options
        )  # type: ignore[misc, assignment]
    missing = set(info["missing_keys"]) - {"lm_head.weight"}
    if missing or info["mismatched_keys"]:
        names = sorted(missing | {str(key[0]) for key in info["mismatched_keys"]})
        raise ModelLoadError(
            f"{name} lacks {len(names)} weights of {type(model).__name__} or has them in other shapes (first: "
            f"{', '.join(names[:3])}); it is no critic checkpoint, or its download is incomplete"
        )
    if target is not None:
        model.to(target)  # type: ignore[arg-type]
    model.eval().requires_grad_(False)
    has_tags = "lm_head.weight" not in info["missing_keys"] and not getattr(config, "ignore_lm_head", False)
    return Checkpoint(
        name=str(name),
        model=model,
        tokenizer=tokenizer,
        scorer=scorer(model, has_tags=has_tags),
        has_tags=has_tags,
        window_size=int(getattr(config, "window_size", None) or min(8192, config.max_position_embeddings)),
        thresholds=getattr(config, "decision_thresholds", None) or {},
        shares=getattr(config, "decision_shares", None) or {},
    )


def resolve_device(device: str | torch.device | None) -> torch.device:
    """The device that a name stands for, checked to exist.

    Raises:
        DeviceError: there is no such device here.
    """
    if device is None:
        backend = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(backend)
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        count = torch.cuda.device_count()
        raise DeviceError(
            f"device {str(device)!r} cannot be used here ({str(error).splitlines()[0]}); this machine has cpu"
            + (f" and cuda:0 to cuda:{count - 1}" if count else " and no CUDA device")
        ) from None
    if resolved.type == "meta":
        raise DeviceError("device 'meta' holds no data; use cpu or cuda")
    return resolved


def _resolve_dtype(dtype: str | torch.dtype | None, device: torch.device | None) -> torch.dtype:
    if dtype is None:
        return torch.float32 if device is not None and device.type == "cpu" else torch.bfloat16
    if isinstance(dtype, str):
        dtype = DTYPES.get(dtype, dtype)  # type: ignore[arg-type]
    if dtype not in DTYPES.values():
        raise DeviceError(f"dtype {dtype!r} is not supported; use one of {', '.join(DTYPES)}")
    return dtype  # type: ignore[return-value]


def _config(source: str, revision: str) -> PretrainedConfig:
    config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    if getattr(config, "first_bidirectional_layer", None) is None:
        architecture = (config.architectures or ["none"])[0]
        if architecture not in _PUBLISHED_BORDER:
            raise ModelLoadError(
                f"the config of {source} (architecture {architecture}) has no first_bidirectional_layer, so it is no token "
                "critic; train one from it with `cprs train`, or name the layer in its config.json"
            )
        config.first_bidirectional_layer = _PUBLISHED_BORDER[architecture]
    return config


def read_weights(source: str, revision: str = "main") -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint in one safetensors file, as they are there."""
    from safetensors.torch import load_file
    from transformers.utils.hub import cached_file

    return load_file(str(cached_file(source, "model.safetensors", revision=revision)))


@contextlib.contextmanager
def _explained(name: str) -> Any:
    """Turns what transformers and safetensors raise about a checkpoint into a ModelLoadError that keeps their reason."""
    try:
        yield
    except (ModelLoadError, DeviceError, torch.OutOfMemoryError):
        raise
    except ImportError as error:
        raise DeviceError(f"cannot load {name} this way: {error}") from error
    except Exception as error:  # their errors share no base class (OSError, ValueError, SafetensorError, KeyError ...)
        if isinstance(error, ValueError) and "attention" in str(error).lower():
            raise DeviceError(f"cannot load {name}: {error}") from error
        hint = "" if Path(name).exists() else "; a local folder or a Hugging Face id is expected"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelLoadError(f"cannot load the checkpoint {name}: {reason}{hint}") from error


@contextlib.contextmanager
def quiet() -> Any:
    """Keeps transformers' loading bars and reports off the terminal; what matters of them is raised."""
    enabled, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if enabled:
            transformers_logging.enable_progress_bar()
