"""Hybrid attention (paper section 2.2): causal layers below a border, bidirectional ones from it on.

The base model's own code runs unchanged. Two things make a layer bidirectional: its ``is_causal`` flag, which kernels read
when there is no mask, and the mask itself, which a stateless hook swaps in. Both are needed: a mask that hides nothing is
None, and then only the flag speaks.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

MASK = "bidirectional_mask"  # travels through the base model's **kwargs to its attention layers


def make_hybrid(layers: nn.ModuleList, border: int) -> None:
    """Makes ``layers[border:]`` bidirectional and prepares all layers for :func:`hybrid_masks`."""
    for index, layer in enumerate(layers):
        attention: Any = layer.self_attn
        attention.is_causal = index < border
        attention.register_forward_pre_hook(_swap_mask, with_kwargs=True)


def _swap_mask(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    kwargs = dict(kwargs)
    if MASK in kwargs:
        mask = kwargs.pop(MASK)
        if not module.is_causal:
            kwargs["attention_mask"] = mask
    return args, kwargs


def hybrid_masks(config: Any, embeds: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None) -> tuple[Any, Any]:
    """The causal and the bidirectional mask, in the form that the model's attention kernel takes; None hides nothing.

    Args:
        embeds: [B, L, H], read for its shape, dtype and device only.
        attention_mask: [B, L], 1 = token, 0 = padding; None = no padding.
        position_ids: [B, L]; given for packed rows, in which each document's positions start from 0 again.
    """
    pack = None
    if position_ids is not None and "flash" not in config._attn_implementation:
        document = (position_ids == 0).cumsum(-1)  # Flash kernels read the documents from position_ids themselves

        def pack(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return document[batch, query] == document[batch, key]

    causal = create_causal_mask(config, embeds, attention_mask, None, and_mask_function=pack)
    bidirectional = create_bidirectional_mask(config, embeds, attention_mask, and_mask_function=pack)
    return causal, bidirectional


def flatten_for_flash(
    config: Any, input_ids: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Packed rows as one row, the only form in which Flash kernels see documents; other inputs as they are."""
    if position_ids is None or attention_mask is not None or "flash" not in config._attn_implementation:
        return input_ids, position_ids
    return input_ids.reshape(1, -1), position_ids.reshape(1, -1)


def is_supported(model: nn.Module) -> bool:
    """Whether every decoder layer has the ``self_attn`` that this module needs, and no sliding window."""
    layers = getattr(model, "layers", None)
    config = getattr(model, "config", None)
    sliding = "sliding_attention" in (getattr(config, "layer_types", None) or [])
    return isinstance(layers, nn.ModuleList) and not sliding and all(hasattr(layer, "self_attn") for layer in layers)
