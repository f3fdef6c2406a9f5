"""The token critic (paper section 2.3): any Llama-like decoder, made hybrid, with two heads.

For each token of a window, reading the hidden state at the token's own position (no shift):

    label_probs = softmax(cls_head(h))                     over B, I, O, E: where a span begins, goes on, ends
    tag_probs   = softmax(lm_head(h)[tags + "outside"])    over the tag words of the instruction: what it is
    score(tag)  = (1 - P(O)) * P(tag)                      P(B-tag) = P(B) * P(tag), summed over B, I, E

The critic is a subclass of the base model's causal-LM class with one more Linear, so a checkpoint of the published layout
(``model.*``, ``lm_head.weight``, ``cls_head.*``) loads by name, and everything that transformers does for the base works.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PretrainedConfig, PreTrainedModel

from .attention import MASK, flatten_for_flash, hybrid_masks, is_supported, make_hybrid
from .errors import ModelLoadError
from .shape import check_border, check_skim

LABELS = ("B", "I", "O", "E")  # ids 0 to 3


@dataclass
class CriticOutput:
    """What the critic says about input_ids [B, L].

    Attributes:
        hidden: [B, L, H], the last hidden state, after the final norm.
        label_logits: float32 [B, L, 4], over B, I, O, E.
        tag_logits: float32 [B, L, T + 1], over the tags and "outside"; None if no tags were asked for.
        skim_logits: float32 [B, L], what the skimmer guesses of the keep scores; None if it was not asked.
    """

    hidden: Tensor
    label_logits: Tensor
    tag_logits: Tensor | None
    skim_logits: Tensor | None = None


class TokenCritic(PreTrainedModel):  # type: ignore[no-untyped-call]
    """The part of the critic that is the same for every base; :func:`critic_class` mixes it into one."""

    _keep_in_fp32_modules_strict = {"cls_head", "skimmer.head"}  # noqa: RUF012 - read by transformers

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        border = check_border(getattr(config, "first_bidirectional_layer", None), config.num_hidden_layers)
        if not is_supported(self.model):
            raise ModelLoadError(f"{type(self.model).__name__} is no plain decoder with full self-attention in every layer")
        make_hybrid(self.model.layers, border)
        self.cls_head = nn.Linear(config.hidden_size, len(LABELS))
        skim = check_skim(getattr(config, "skim", None), border)
        self.skimmer = None if skim is None else Skimmer(config, self.model, *skim)
        self.post_init()

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        tag_ids: Tensor | None = None,
        skim: bool = False,
    ) -> CriticOutput:
        """One pass, no cache.

        Args:
            input_ids: [B, L].
            attention_mask: [B, L], 1 = token, 0 = padding. Equal-length rows need none, and are faster without.
            position_ids: [B, L], only for packed rows: each document's positions start from 0, and it sees itself alone.
            tag_ids: [T + 1] or [B, T + 1], the ids of the tag words and, last, of "outside".
            skim: ask the skimmer too.
        """
        shape = input_ids.shape
        input_ids, position_ids = flatten_for_flash(self.config, input_ids, attention_mask, position_ids)
        embeds = self.get_input_embeddings()(input_ids)
        causal, bidirectional = hybrid_masks(self.config, embeds, attention_mask, position_ids)
        output = self.model(
            inputs_embeds=embeds,
            attention_mask=causal,
            position_ids=position_ids,
            use_cache=False,
            output_hidden_states=skim,
            **{MASK: bidirectional},
        )
        hidden = output.last_hidden_state.view(*shape, -1)
        skim_logits = None
        if skim and self.skimmer is not None:
            states = output.hidden_states[self.skimmer.behind]
            positions = torch.arange(states.shape[1], device=states.device)[None] if position_ids is None else position_ids
            angles = self.model.rotary_emb(states, positions)
            skim_logits = self.skimmer(states, bidirectional, angles).view(shape)
        return CriticOutput(
            hidden,
            self.label_logits(hidden),
            None if tag_ids is None else self.tag_logits(hidden, tag_ids),
            skim_logits,
        )

    def label_logits(self, hidden: Tensor) -> Tensor:
        """float32 [..., 4] from hidden [..., H]."""
        return self.cls_head(hidden.to(self.cls_head.weight.dtype)).float()

    def tag_logits(self, hidden: Tensor, tag_ids: Tensor) -> Tensor:
        """The LM head's logits, but for a few words only: float32 [B, L, T + 1] from hidden [B, L, H]."""
        head: Any = self.get_output_embeddings()
        embedding: Any = self.get_input_embeddings()
        ids = tag_ids.clamp(min=0)  # -1 fills up rows with fewer tags; its logits are the caller's to ignore
        if self.config.tie_word_embeddings:
            rows = embedding(ids.to(embedding.weight.device))
        elif head.weight.device.type != "meta":
            rows = head.weight[ids.to(head.weight.device)]
        else:  # offloaded: only calling the module brings its weights in
            logits = head(hidden)
            columns = ids.to(logits.device).view(-1, 1, ids.shape[-1])
            return logits.gather(-1, columns.expand(*hidden.shape[:2], -1)).float()
        return torch.matmul(hidden, rows.to(hidden).transpose(-1, -2)).float()


class Skimmer(nn.Module):
    """Layers of the base's kind that see both ways, behind the first ``behind`` causal ones, and a head that guesses the
    keep scores (:mod:`~.skim`)."""

    def __init__(self, config: PretrainedConfig, base: Any, behind: int, layers: int) -> None:
        super().__init__()
        self.behind = behind
        kind, norm = type(base.layers[0]), type(base.norm)
        self.layers = nn.ModuleList(kind(config, index) for index in range(layers))
        make_hybrid(self.layers, 0)
        self.norm = norm(config.hidden_size, eps=config.rms_norm_eps)
        self.head = nn.Linear(config.hidden_size, 1)

    def forward(self, states: Tensor, mask: Tensor | None, angles: tuple[Tensor, Tensor]) -> Tensor:
        """Logits float32 [B, L] of the guesses from states [B, L, H]."""
        for layer in self.layers:
            states = layer(states, attention_mask=mask, position_embeddings=angles)
        return self.head(self.norm(states).to(self.head.weight.dtype)).squeeze(-1).float()

    def begin_as(self, base: Any) -> None:
        """Starts from the layers of the base in whose place it works, and guesses low."""
        with torch.no_grad():
            self.layers.load_state_dict(base.layers[self.behind : self.behind + len(self.layers)].state_dict())
            self.norm.load_state_dict(base.norm.state_dict())
            self.head.weight.zero_()
            self.head.bias.fill_(-2.0)


@cache
def _critic_class(base: Any) -> type[TokenCritic]:
    return type(f"{base.__name__.removesuffix('ForCausalLM')}ForTokenCritic", (TokenCritic, base), {})


def critic_class(config_class: type[PretrainedConfig]) -> type[TokenCritic]:
    """The critic over the base model that ``config_class`` belongs to.

    Raises:
        ModelLoadError: transformers has no causal LM for it.
    """
    try:
        base: Any = MODEL_FOR_CAUSAL_LM_MAPPING[config_class]
    except KeyError:
        raise ModelLoadError(
            f"{config_class.__name__} has no causal language model in transformers; the critic needs a decoder such as "
            "Qwen2, Qwen3 or Llama"
        ) from None
    return _critic_class(base)
