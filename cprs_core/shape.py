"""What a decoder looks like, as far as :mod:`~.packed` must know, read from a config.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ModelLoadError

FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})  # decoders that are what packed.py spells out, and no more
_ROPE = frozenset({"default", "linear", "yarn", "llama3"})  # angles that do not depend on the length of the text


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder: ``heads`` query heads and ``kv_heads`` key and value heads of ``head_dim``.

    Attributes:
        border: the first bidirectional layer (paper section 2.2).
        inner: width of the gated MLP. eps: of the norms. head_norms: whether queries and keys are normed.
        tied: whether the LM head is the embedding.
        skim: how many causal layers lie before the skimmer, and how many layers it has, if there is one.
        config: all of the config, for what depends on its kind.
    """

    layers: int
    border: int
    vocab: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    tied: bool
    skim: tuple[int, int] | None
    head_norms: bool
    config: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape | None:
        """The shape in a config; None if it leaves something unsaid, or says something that packed.py does not do.

        Raises:
            ModelLoadError: a border that the decoder does not have.
        """
        rope = config.get("rope_parameters") or {}
        slides = config.get("sliding_window") and config.get("use_sliding_window", True)
        if (
            config.get("model_type") not in FAMILIES
            or config.get("hidden_act") != "silu"
            or rope.get("rope_type") not in _ROPE
            or rope.get("partial_rotary_factor", 1) != 1
            or slides
            or "sliding_attention" in (config.get("layer_types") or ())
            or config.get("quantization_config")
        ):
            return None
        try:
            return cls(
                layers=config["num_hidden_layers"],
                border=check_border(config["first_bidirectional_layer"], config["num_hidden_layers"]),
                vocab=config["vocab_size"],
                hidden=config["hidden_size"],
                inner=config["intermediate_size"],
                heads=config["num_attention_heads"],
                kv_heads=config["num_key_value_heads"],
                head_dim=config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
                eps=config["rms_norm_eps"],
                tied=config["tie_word_embeddings"],
                skim=check_skim(config.get("skim"), config["first_bidirectional_layer"]),
                head_norms=config["model_type"] == "qwen3",
                config=config,
            )
        except KeyError:
            return None

    def weights(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and sizes of the weights that a checkpoint must have, in the published layout; biases it may have."""
        yield "model.embed_tokens.weight", (self.vocab, self.hidden)
        for index in range(self.layers):
            yield from self._layer_weights(layer_name(index))
        yield "model.norm.weight", (self.hidden,)
        if self.skim is not None:
            for index in range(self.skim[1]):
                yield from self._layer_weights(skim_layer_name(index))
            yield "skimmer.norm.weight", (self.hidden,)
            yield "skimmer.head.weight", (1, self.hidden)
            yield "skimmer.head.bias", (1,)
        yield "cls_head.weight", (4, self.hidden)
        yield "cls_head.bias", (4,)

    def _layer_weights(self, layer: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        yield f"{layer}.input_layernorm.weight", (self.hidden,)
        yield f"{layer}.post_attention_layernorm.weight", (self.hidden,)
        yield f"{layer}.self_attn.q_proj.weight", (wide, self.hidden)
        yield f"{layer}.self_attn.k_proj.weight", (narrow, self.hidden)
        yield f"{layer}.self_attn.v_proj.weight", (narrow, self.hidden)
        yield f"{layer}.self_attn.o_proj.weight", (self.hidden, wide)
        yield f"{layer}.mlp.gate_proj.weight", (self.inner, self.hidden)
        yield f"{layer}.mlp.up_proj.weight", (self.inner, self.hidden)
        yield f"{layer}.mlp.down_proj.weight", (self.hidden, self.inner)
        if self.head_norms:
            yield f"{layer}.self_attn.q_norm.weight", (self.head_dim,)
            yield f"{layer}.self_attn.k_norm.weight", (self.head_dim,)


def layer_name(index: int) -> str:
    return f"model.layers.{index}"


def skim_layer_name(index: int) -> str:
    return f"skimmer.layers.{index}"


def check_border(border: Any, layers: int) -> int:
    """The first bidirectional layer.

    Raises:
        ModelLoadError: it is none of the layers, nor the end.
    """
    if not isinstance(border, int) or not 0 <= border <= layers:
        raise ModelLoadError(
            f"first_bidirectional_layer must be 0 to {layers}, the number of layers; the config says {border!r}"
        )
    return border


def check_skim(skim: Any, border: int) -> tuple[int, int] | None:
    """How many causal layers lie before the skimmer, and how many layers it has; None if there is none.

    Raises:
        ModelLoadError: it makes no sense, or the critic has not so many causal layers.
    """
    if skim is None:
        return None
    behind, layers = (skim.get(name) if isinstance(skim, Mapping) else None for name in ("behind", "layers"))
    if not isinstance(behind, int) or not isinstance(layers, int) or not 0 < behind <= border or layers < 1:
        raise ModelLoadError(
            f"skim must say behind how many of the {border} causal layers the skimmer begins and how many layers it has, "
            f'such as {{"behind": 1, "layers": 1}}; the config says {skim!r}'
        )
    return behind, layers
