"""Checkpoints to models: the default one from inside the package, others from a folder or the Hugging Face hub.

Only safetensors are read and no code of a checkpoint is ever run. A checkpoint may hold full weights (the published
layout) or 4-bit ones (``cprs_core.quantization``); which one its config says.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import DeviceError, ModelLoadError
from .linear import Dense, DynamicInt8, Float8, Int8, Linear
from .models import BUNDLED, DEFAULT_MODEL
from .quantization import size_of, unpack_state, unpacked
from .scoring import PackedScorer, PlainScorer, Scorer
from .shape import Shape
from .tokens import TextTokenizer

if TYPE_CHECKING:
    from .model import TokenCritic

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ENGINES = torch.backends.quantized.supported_engines
NAMES = (*DTYPES, "float8", "int8")

# The published checkpoint's config has no field for the border; it is part of its method (paper section 2.2).
_PUBLISHED_BORDER = {"Qwen2ForCausalLMandBIO": 21}
_FLOAT8_CAPABILITY = (8, 9)  # Ada, Hopper and later

Device = str | torch.device


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
    """

    name: str
    tokenizer: TextTokenizer
    scorers: Sequence[Scorer]
    has_tags: bool
    window_size: int
    thresholds: Mapping[str, float]
    shares: Mapping[str, float]


def load(
    name: str | Path = DEFAULT_MODEL,
    *,
    device: Device | Sequence[Device] | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: str | dict[str, Any] | None = None,
    attn_implementation: str | None = None,
    early_exit: bool = True,
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
        early_exit: let windows with nothing in them stop early, if the checkpoint was trained for it (:mod:`~.early_exit`).

    Raises:
        ModelLoadError: missing, broken or unsupported checkpoint.
        DeviceError: no such device, dtype or attention kernel here.
    """
    if device is not None and device_map is not None:
        raise DeviceError("device and device_map contradict each other; give one of them")
    targets = [] if device_map is not None else resolve_devices(device)
    precision = _resolve_dtype(dtype, targets)
    _check_name(name)
    with _explained(str(name)):
        config = read_config(name, revision)
        tokenizer = read_tokenizer(name, revision)
        if targets and attn_implementation is None and Shape.of(config) is not None:
            weights = read_weights(name, revision)
            return assemble(str(name), config, weights, tokenizer, devices=targets, dtype=precision, early_exit=early_exit)
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


def assemble(
    name: str,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    tokenizer: TextTokenizer,
    *,
    devices: Sequence[torch.device],
    dtype: str,
    early_exit: bool = True,
) -> Checkpoint:
    """A checkpoint of the fast pass from its parts.

    Args:
        config: as in a config.json; :meth:`Shape.of` must know it. weights: in the published layout, or quantised to 4
            bits. dtype: one of ``NAMES``.

    Raises:
        ModelLoadError: weights are missing, or have other shapes.
    """
    shape = Shape.of(config)
    if shape is None:
        raise ModelLoadError(f"the config of {name} is of no decoder that the fast pass knows")
    wrong = sorted(key for key, size in shape.weights() if size_of(weights, key) != size)
    if wrong:
        raise _incomplete(name, wrong)
    has_tags = (shape.tied or "lm_head.weight" in weights) and not config.get("ignore_lm_head", False)
    scorers = []
    for device in devices:
        linear, floating = _precision(dtype, device, shape)

        def take(key: str, device: torch.device = device, floating: torch.dtype = floating) -> Tensor | None:
            if size_of(weights, key) is None:
                return None
            kept = torch.float32 if key.startswith(("cls_head.", "early_exit.")) else floating
            return unpacked(weights, key, kept).to(device)

        limit = config.get("early_exit_threshold") if early_exit else None
        scorers.append(PackedScorer(shape, take, linear, has_tags=has_tags, early_exit=limit))
    return checkpoint(name, config, tokenizer, scorers, has_tags)


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
    precision = _resolve_dtype(dtype, targets)
    if precision not in DTYPES:
        raise DeviceError(f"a module of transformers takes no dtype {precision!r}; use one of {', '.join(DTYPES)}")
    _check_name(name)
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


def resolve_devices(device: Device | Sequence[Device] | None) -> list[torch.device]:
    """The devices that names stand for: one, several with commas between, or a list.

    Raises:
        DeviceError: one of them is not here, or there is none.
    """
    if isinstance(device, (list, tuple)):
        names: list[Any] = list(device)
    else:
        names = device.split(",") if isinstance(device, str) else [device]
    if not names:
        raise DeviceError("the list of devices is empty; name at least one, such as cpu or cuda:0")
    return [resolve_device(name.strip() if isinstance(name, str) else name) for name in names]


def _resolve_dtype(dtype: str | torch.dtype | None, devices: Sequence[torch.device]) -> str:
    """One of ``NAMES``."""
    if dtype is None:
        on_cpu = any(device.type == "cpu" for device in devices)
        return "float32" if on_cpu and not torch.cpu._is_amx_tile_supported() else "bfloat16"
    name = next((name for name, known in DTYPES.items() if dtype is known), dtype)
    if name not in NAMES:
        raise DeviceError(f"dtype {dtype!r} is not supported; use one of {', '.join(NAMES)}")
    return str(name)


def _precision(dtype: str, device: torch.device, shape: Shape) -> tuple[type[Linear], torch.dtype]:
    """The kind of products, and the floating-point type of everything else.

    Raises:
        DeviceError: this device cannot compute so.
    """
    if dtype == "float8":
        capable = device.type == "cuda" and torch.cuda.get_device_capability(device) >= _FLOAT8_CAPABILITY
        if not capable:
            raise DeviceError(
                f"dtype 'float8' needs an NVIDIA GPU of compute capability {_FLOAT8_CAPABILITY[0]}.{_FLOAT8_CAPABILITY[1]} "
                f"or later (Ada, Hopper), and {device} is none; use 'bfloat16', or 'int8' to halve the memory of the weights"
            )
        if shape.hidden % 16 or shape.inner % 16 or shape.head_dim % 16:
            raise DeviceError("dtype 'float8' needs a model with sizes that are multiples of 16; use 'bfloat16'")
        return Float8, torch.bfloat16
    if dtype != "int8":
        return Dense, DTYPES[dtype]
    if device.type != "cpu":
        return Int8, torch.bfloat16
    if "onednn" not in ENGINES:
        raise DeviceError("dtype 'int8' on a CPU needs a torch with oneDNN, and this one has none; use 'float32'")
    return DynamicInt8, torch.float32


def _check_name(name: str | Path) -> None:
    if str(name).startswith(("/", ".", "~")) and not Path(name).is_dir():
        raise ModelLoadError(f"there is no folder {name}; give a folder with config.json and model.safetensors, or a hub id")


def read_config(name: str | Path, revision: str = "main") -> dict[str, Any]:
    """The config of a checkpoint with its border; one that leaves something unsaid is filled up by transformers."""
    source = str(BUNDLED.get(str(name), name))
    config = _json(source, "config.json", revision)
    architecture = (config.get("architectures") or ["none"])[0]
    if config.get("first_bidirectional_layer") is None and architecture in _PUBLISHED_BORDER:
        config["first_bidirectional_layer"] = _PUBLISHED_BORDER[architecture]
    if Shape.of(config) is None:
        from transformers import AutoConfig

        with quiet():
            full = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False).to_dict()
        config = {**full, **{key: config[key] for key in ("first_bidirectional_layer",) if key in config}}
    if config.get("first_bidirectional_layer") is None:
        raise ModelLoadError(
            f"the config of {name} (architecture {architecture}) has no first_bidirectional_layer, so it is no token "
            "critic; train one from it with `cprs train`, or name the layer in its config.json"
        )
    return config


def read_tokenizer(name: str | Path, revision: str = "main") -> TextTokenizer:
    """The tokenizer of a checkpoint.

    Raises:
        ModelLoadError: it has none, or none with offsets.
    """
    source = str(BUNDLED.get(str(name), name))
    path = Path(source, "tokenizer.json")
    if path.is_file():
        return TextTokenizer(path.read_text(encoding="utf-8"))
    from transformers import AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
    return TextTokenizer.of(tokenizer)


def read_weights(name: str | Path, revision: str = "main") -> dict[str, Tensor]:
    """The tensors of a checkpoint, as they are in its safetensors files: on disk until they are used."""
    from safetensors.torch import load_file

    source = str(BUNDLED.get(str(name), name))
    try:
        files = sorted(set(_json(source, "model.safetensors.index.json", revision)["weight_map"].values()))
    except OSError:
        files = ["model.safetensors"]
    return {key: value for file in files for key, value in load_file(_file(source, file, revision)).items()}


def _json(source: str, name: str, revision: str) -> dict[str, Any]:
    text = _file(source, name, revision).read_text(encoding="utf-8")
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ModelLoadError(f"the {name} of {source} is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise ModelLoadError(f"the {name} of {source} holds no object")
    return content


def _file(source: str, name: str, revision: str) -> Path:
    """A file of a checkpoint: in its folder, or downloaded from the hub.

    Raises:
        OSError: there is none.
    """
    if Path(source).is_dir():
        path = Path(source, name)
        if not path.is_file():
            raise FileNotFoundError(f"{source} has no {name}")
        return path
    from transformers.utils.hub import cached_file

    return Path(str(cached_file(source, name, revision=revision)))


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
    from transformers.utils import logging as transformers_logging

    enabled, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if enabled:
            transformers_logging.enable_progress_bar()
