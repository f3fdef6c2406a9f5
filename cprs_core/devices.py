"""Devices and precisions by name: which there are here, and what to compute with on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .errors import DeviceError
from .linear import Dense, DynamicInt8, Float8, Int8, Linear
from .shape import Shape

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ENGINES = torch.backends.quantized.supported_engines
NAMES = (*DTYPES, "float8", "int8")

_FLOAT8_CAPABILITY = (8, 9)  # Ada, Hopper and later

Device = str | torch.device


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


def resolve_dtype(dtype: str | torch.dtype | None, devices: Sequence[torch.device]) -> str:
    """One of ``NAMES``."""
    if dtype is None:
        on_cpu = any(device.type == "cpu" for device in devices)
        return "float32" if on_cpu and not torch.cpu._is_amx_tile_supported() else "bfloat16"
    name = next((name for name, known in DTYPES.items() if dtype is known), dtype)
    if name not in NAMES:
        raise DeviceError(f"dtype {dtype!r} is not supported; use one of {', '.join(NAMES)}")
    return str(name)


def arithmetic(dtype: str, device: torch.device, shape: Shape) -> tuple[type[Linear], torch.dtype]:
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
