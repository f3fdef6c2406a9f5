"""The files of a checkpoint, from a folder or the Hugging Face hub: config, tokenizer, weights."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from .errors import ModelLoadError
from .models import BUNDLED
from .shape import Shape
from .tokens import TextTokenizer

# The published checkpoint's config has no field for the border; it is part of its method (paper section 2.2).
_PUBLISHED_BORDER = {"Qwen2ForCausalLMandBIO": 21}


def check_name(name: str | Path) -> None:
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
