"""The two ends of a run: the base model that it starts from, and the checkpoint that it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from .. import quantization
from ..errors import InputError, ModelLoadError
from ..files import quiet, read_weights
from ..model import TokenCritic, critic_class
from ..models import BUNDLED
from ..tokens import TextTokenizer
from .config import TrainConfig


def load_base(config: TrainConfig) -> TokenCritic:
    """The base model in float32 as a critic with a new label head (or its own, if it is one; 4-bit weights unpacked), its
    weights averaged with those of other critics, if the recipe names some.

    Raises:
        ModelLoadError: missing, or of a kind that cannot be a critic.
        InputError: a border that it does not have, or critics of different shapes.
    """
    model = _load_critic(config.base, config)
    weights = dict(model.named_parameters())
    for count, name in enumerate(config.average_with, 2):
        others = dict(_load_critic(name, config).named_parameters())
        if {key: x.shape for key, x in weights.items()} != {key: x.shape for key, x in others.items()}:
            raise InputError(
                f"the weights of {name} and {config.base} differ in shape; only critics of one base have a mean"
            )
        for key, weight in weights.items():
            weight.data.lerp_(others[key].data, 1 / count)
    return model


def _load_critic(name: str, config: TrainConfig) -> TokenCritic:
    source = _source(name)
    try:
        base = AutoConfig.from_pretrained(**source)
        layers = base.num_hidden_layers
        upper = config.bidirectional
        if upper is None:
            upper = layers - getattr(base, "first_bidirectional_layer", round(layers * 0.6))
        if not 0 <= upper <= layers:
            raise InputError(f"bidirectional must be 0 to {layers}, the number of layers of {name}; got {upper}")
        base.first_bidirectional_layer = layers - upper
        had = getattr(base, "skim", None) or {}
        base.skim = None  # a skimmer knows one critic only, as it is
        if config.skim is not None:
            if not 0 < config.skim <= layers - upper or not 0 < config.skim_layers <= layers - config.skim:
                raise InputError(
                    f"skim must be 1 to {layers - upper}, the causal layers of {name}, and skim_layers 1 to what is left of "
                    f"its {layers}; got {config.skim} and {config.skim_layers}"
                )
            base.skim = {"behind": config.skim, "layers": config.skim_layers}
        if getattr(base, "cprs_quantization", None):
            packed = read_weights(source["pretrained_model_name_or_path"])
            source = {"pretrained_model_name_or_path": None, "state_dict": quantization.unpack_state(packed)}
            del base.cprs_quantization
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
        if model.skimmer is not None:
            model.requires_grad_(False)
            if (had.get("behind"), had.get("layers")) != (config.skim, config.skim_layers):
                model.skimmer.begin_as(model.model)
            model.skimmer.requires_grad_(True)
        return model
    except (OSError, ValueError) as error:
        if isinstance(error, (InputError, ModelLoadError)):
            raise
        raise ModelLoadError(f"cannot load the base model {name!r}: {error}") from error


def load_tokenizer(base: str) -> tuple[Any, TextTokenizer]:
    """The base model's tokenizer, as transformers has it and as we use it."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(**_source(base))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"cannot load the tokenizer of {base!r}: {error}") from error
    return tokenizer, TextTokenizer.of(tokenizer)


def _source(base: str) -> dict[str, Any]:
    """Arguments for ``from_pretrained``: a shipped model, a hub id, a folder, or one GGUF file in a folder."""
    path = Path(base)
    if path.suffix == ".gguf":
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name, "trust_remote_code": False}
    return {"pretrained_model_name_or_path": str(BUNDLED.get(base, base)), "trust_remote_code": False}


def save(model: TokenCritic, tokenizer: Any, out: Path, config: TrainConfig) -> None:
    """Writes a checkpoint that :func:`cprs_core.loading.load` reads: 4-bit if trained so, else bfloat16."""
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
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
