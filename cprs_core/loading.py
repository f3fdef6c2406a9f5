"""Checkpoints to models: the default one from inside the package, others from a folder or the Hugging Face hub.

Only safetensors are read and no code of a checkpoint is ever run. A checkpoint may hold full weights (the published
layout) or 4-bit ones (``cprs_core.quantization``); which one its config says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .devices import DTYPES, Device, arithmetic, resolve_devices, resolve_dtype
from .errors import DeviceError, ModelLoadError
from .files import check_name, quiet, read_config, read_tokenizer, read_weights
from .models import BUNDLED, DEFAULT_MODEL
from .quantization import size_of, unpack_state, unpacked
from .scoring import PackedScorer, PlainScorer, Scorer
from .shape import Shape
from .skim import Skim
from .tokens import TextTokenizer

if TYPE_CHECKING:
    from .model import TokenCritic


@dataclass(frozen=True)
class Checkpoint:
    """A loaded critic with its tokenizer.

    Attributes:
        scorers: run windows through it, one for each device that holds a copy.
        has_tags: whether the LM head is a usable token critic; if not, the label head alone scores.
        window_size: tokens of a window, prefix included.
        thresholds: for each unit of instructions, the calibrated score from which it is kept when the model decides;
            where there is none, the label head's argmax decides, as in the published checkpoint.
        shares: for each unit, the share of the best score that something must reach besides; none where it is missing.
        skim: how long texts are skimmed; None = they are read.
    """

    name: str
    tokenizer: TextTokenizer
    scorers: Sequence[Scorer]
    has_tags: bool
    window_size: int
    thresholds: Mapping[str, float]
    shares: Mapping[str, float]
    skim: Skim | None = None


def load(
    name: str | Path = DEFAULT_MODEL,
    *,
    device: Device | Sequence[Device] | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: str | dict[str, Any] | None = None,
    attn_implementation: str | None = None,
    skim: bool = True,
    revision: str = "main",
) -> Checkpoint:
    """Loads a checkpoint for inference.

    Args:
        name: ``"cprs-small"``, a local folder or a hub id.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; several (``"cuda:0,cuda:1"`` or a list) get a copy of the
            model each, and share the windows; None = a GPU if there is one.
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"``; None = bfloat16, but float32 on CPUs that are slow at it.
            ``"float8"``: weights and states in 8-bit floats, on NVIDIA GPUs from Ada and Hopper on. ``"int8"``: 8-bit
            weights, for small GPUs; on CPUs the states are 8-bit too.
        device_map: places layers through accelerate (``"auto"``) instead of ``device``, for models larger than a GPU.
        attn_implementation: ``"sdpa"``, ``"eager"``, ``"flash_attention_2"`` ... runs transformers' own forward pass with
            this kernel; None = the fast pass of :mod:`~.packed` wherever it can run the model.
        skim: skim long texts first and read what promises something, if the checkpoint has a skimmer (:mod:`~.skim`).

    Raises:
        ModelLoadError: missing, broken or unsupported checkpoint.
        DeviceError: no such device, dtype or attention kernel here.
    """
    if device is not None and device_map is not None:
        raise DeviceError("device and device_map contradict each other; give one of them")
    targets = [] if device_map is not None else resolve_devices(device)
    precision = resolve_dtype(dtype, targets)
    check_name(name)
    with _explained(str(name)):
        config = read_config(name, revision)
        tokenizer = read_tokenizer(name, revision)
        if targets and attn_implementation is None and Shape.of(config) is not None:
            weights = read_weights(name, revision)
            return assemble(str(name), config, weights, tokenizer, devices=targets, dtype=precision, skim=skim)
    if precision not in DTYPES:
        raise DeviceError(
            f"dtype {precision!r} goes with the fast pass only, which takes no device_map and no attn_implementation, and "
            f"knows Llama, Mistral, Qwen2 and Qwen3 without sliding windows; use one of {', '.join(DTYPES)}"
        )
    scorers = []
    places: list[torch.device | None] = [*targets] or [None]
    for target in places:
        model, has_tags = _load_model(name, target, precision, device_map, attn_implementation, revision)
        scorers.append(PlainScorer(model, has_tags))
    return checkpoint(str(name), config, tokenizer, scorers, has_tags)


def load_skim(name: str | Path = DEFAULT_MODEL, *, revision: str = "main") -> Skim | None:
    """How a checkpoint skims, without loading it; None if it cannot. Errors are those of :func:`load`."""
    check_name(name)
    with _explained(str(name)):
        return Skim.of(read_config(name, revision))


def assemble(
    name: str,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    tokenizer: TextTokenizer,
    *,
    devices: Sequence[torch.device],
    dtype: str,
    skim: bool = True,
) -> Checkpoint:
    """A checkpoint of the fast pass from its parts.

    Args:
        config: as in a config.json; :meth:`Shape.of` must know it. weights: in the published layout, or quantised to 4
            bits. dtype: one of ``devices.NAMES``.

    Raises:
        ModelLoadError: weights are missing, or have other shapes.
    """
    shape = Shape.of(config)
    if shape is None:
        raise ModelLoadError(f"the config of {name} is of no decoder that the fast pass knows")
    wrong = sorted(key for key, size in shape.weights() if size_of(weights, key) != size)
    if wrong:
        raise _incomplete(name, wrong)
    how = Skim.of(config) if skim else None
    if how is None:
        shape = replace(shape, skim=None)
    has_tags = (shape.tied or "lm_head.weight" in weights) and not config.get("ignore_lm_head", False)
    scorers = []
    for device in devices:
        linear, floating = arithmetic(dtype, device, shape)

        def take(key: str, device: torch.device = device, floating: torch.dtype = floating) -> Tensor | None:
            if size_of(weights, key) is None:
                return None
            kept = torch.float32 if key.startswith(("cls_head.", "skimmer.head.")) else floating
            return unpacked(weights, key, kept).to(device)

        scorers.append(PackedScorer(shape, take, linear, has_tags=has_tags))
    return replace(checkpoint(name, config, tokenizer, scorers, has_tags), skim=how)


def checkpoint(
    name: str, config: Mapping[str, Any], tokenizer: TextTokenizer, scorers: Sequence[Scorer], has_tags: bool
) -> Checkpoint:
    """Puts a checkpoint together; window and rule are what the config says."""
    return Checkpoint(
        name=name,
        tokenizer=tokenizer,
        scorers=scorers,
        has_tags=has_tags,
        window_size=int(config.get("window_size") or min(8192, config["max_position_embeddings"])),
        thresholds=config.get("decision_thresholds") or {},
        shares=config.get("decision_shares") or {},
    )


def _incomplete(name: str, wrong: Sequence[str]) -> ModelLoadError:
    return ModelLoadError(
        f"{name} lacks {len(wrong)} weights of a critic or has them in other shapes (first: {', '.join(wrong[:3])}); it is "
        "no critic checkpoint, or its download is incomplete"
    )


def load_model(
    name: str | Path = DEFAULT_MODEL,
    *,
    device: Device | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: str | dict[str, Any] | None = None,
    attn_implementation: str | None = None,
    revision: str = "main",
) -> TokenCritic:
    """The critic as a module of transformers, in evaluation mode; arguments and errors are those of :func:`load`."""
    targets = [] if device_map is not None else resolve_devices(device)
    precision = resolve_dtype(dtype, targets)
    if precision not in DTYPES:
        raise DeviceError(f"a module of transformers takes no dtype {precision!r}; use one of {', '.join(DTYPES)}")
    check_name(name)
    return _load_model(name, targets[0] if targets else None, precision, device_map, attn_implementation, revision)[0]


def _load_model(
    name: str | Path,
    target: torch.device | None,
    precision: str,
    device_map: str | dict[str, Any] | None,
    attn_implementation: str | None,
    revision: str,
) -> tuple[TokenCritic, bool]:
    """The critic as a module of transformers, and whether its LM head is a critic."""
    from transformers import AutoConfig

    from .model import critic_class

    dtype = DTYPES[precision]
    with quiet(), _explained(str(name)):
        source = str(BUNDLED.get(str(name), name))
        settings = read_config(name, revision)
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
        config.first_bidirectional_layer = settings["first_bidirectional_layer"]
        options: dict[str, Any] = {"dtype": dtype, "attn_implementation": attn_implementation or "sdpa"}
        options["ignore_mismatched_sizes"] = True  # refused below, by name
        if device_map is not None:
            options["device_map"] = device_map
        if settings.get("cprs_quantization"):
            options["state_dict"] = {
                key: value.to(dtype) for key, value in unpack_state(read_weights(name, revision)).items()
            }
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
        raise _incomplete(str(name), names)
    if target is not None:
        model.to(target)  # type: ignore[arg-type]
    has_tags = "lm_head.weight" not in info["missing_keys"] and not getattr(config, "ignore_lm_head", False)
    return model.eval().requires_grad_(False), has_tags


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
