"""A causal language model from a folder, a hub id or a .gguf file, for the methods and readers that need one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ..devices import resolve_device
from ..errors import ModelLoadError
from ..files import quiet


def load_causal(name: str, device: str | None = None) -> tuple[Any, Any]:
    """The tokenizer and the model, ready to run: float32 on a CPU, bfloat16 elsewhere.

    Raises:
        ModelLoadError: there is none of that name, or it is no causal language model.
        DeviceError: there is no such device.
    """
    target, path = resolve_device(device), Path(name)
    source: dict[str, Any] = {"pretrained_model_name_or_path": name}
    if path.suffix == ".gguf":
        source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(**source)
            dtype = torch.float32 if target.type == "cpu" else torch.bfloat16
            model: Any = AutoModelForCausalLM.from_pretrained(**source, dtype=dtype)
    except Exception as error:  # their errors share no base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelLoadError(
            f"cannot load the language model {name}: {reason}; give the folder, .gguf file or hub id of a causal one"
        ) from error
    return tokenizer, model.to(target).eval().requires_grad_(False)
