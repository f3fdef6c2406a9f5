"""Hybrid attention against a hand-written loop over the layers of a plain model, and what packing and Flash kernels get."""

import copy

import pytest
import torch
from fakes import SIZES
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.masking_utils import flash_attention_mask

from cprs_core.attention import is_supported
from cprs_core.model import critic_class

CONFIGS = {"qwen2": Qwen2Config, "qwen3": Qwen3Config, "llama": LlamaConfig}
BORDER = 2


def make(kind, kernel, border=BORDER):
    """A random critic and a plain model of transformers with the same weights."""
    torch.manual_seed(0)
    config = CONFIGS[kind](**SIZES, first_bidirectional_layer=border)
    config._attn_implementation = kernel
    critic = critic_class(type(config))(config).eval()
    plain_config = CONFIGS[kind](**SIZES)
    plain_config._attn_implementation = "eager"
    plain = AutoModelForCausalLM.from_config(plain_config).eval()
    weights = {name: value for name, value in critic.state_dict().items() if not name.startswith("cls_head")}
    plain.load_state_dict(weights)
    return critic, plain


@torch.no_grad()
def by_hand(plain, ids, mask, border=BORDER):
    """One layer after the other, each with its own full mask [B, 1, L, L]; ids and mask [B, L]."""
    base = plain.model
    hidden = base.embed_tokens(ids)
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    angles = base.rotary_emb(hidden, positions)
    keys = mask.bool()[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
    causal = keys & torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    for index, layer in enumerate(base.layers):
        allowed = causal if index < border else keys
        added = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
        output = layer(hidden, attention_mask=added, position_ids=positions, position_embeddings=angles)
        hidden = output[0] if isinstance(output, tuple) else output
    return base.norm(hidden)


@torch.no_grad()
def hidden(critic, ids, **options):
    return critic(ids, **options).hidden


def ids_of(*shape):
    return torch.randint(0, 60, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_without_padding(kind, kernel):
    critic, plain = make(kind, kernel)
    ids = ids_of(2, 17)
    expected = by_hand(plain, ids, torch.ones_like(ids))
    torch.testing.assert_close(hidden(critic, ids), expected, atol=5e-5, rtol=0)
    assert (hidden(critic, ids) - by_hand(plain, ids, torch.ones_like(ids), border=4)).abs().max() > 0.1  # all causal


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_with_padding_on_the_right(kind, kernel):
    critic, plain = make(kind, kernel)
    ids = ids_of(3, 15)
    mask = (torch.arange(15) < torch.tensor([[15], [9], [1]])).long()
    found = hidden(critic, ids, attention_mask=mask)
    expected = by_hand(plain, ids, mask)
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], atol=5e-5, rtol=0)
    for row, length in enumerate((15, 9, 1)):
        torch.testing.assert_close(found[row, :length], hidden(critic, ids[row : row + 1, :length])[0], atol=5e-5, rtol=0)
    changed = torch.where(mask.bool(), ids, 3)
    torch.testing.assert_close(hidden(critic, changed, attention_mask=mask)[mask.bool()], found[mask.bool()])


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_packed_documents_see_themselves_alone(kind, kernel):
    critic, _ = make(kind, kernel)
    ids = ids_of(2, 20)
    lengths = [[7, 13], [1, 4, 15]]
    positions = torch.stack([torch.cat([torch.arange(n) for n in row]) for row in lengths])
    packed = hidden(critic, ids, position_ids=positions)
    for row, sizes in enumerate(lengths):
        start = 0
        for size in sizes:
            alone = hidden(critic, ids[row : row + 1, start : start + size])[0]
            torch.testing.assert_close(packed[row, start : start + size], alone, atol=5e-5, rtol=0)
            start += size
    assert (packed - hidden(critic, ids)).abs().max() > 0.1


@pytest.mark.parametrize(("border", "causal"), [(0, 0), (4, 4)])
def test_the_border_may_be_at_either_end(border, causal):
    critic, plain = make("qwen2", "sdpa", border)
    ids = ids_of(1, 9)
    torch.testing.assert_close(hidden(critic, ids), by_hand(plain, ids, torch.ones_like(ids), causal), atol=5e-5, rtol=0)


def test_gradient_checkpointing_changes_nothing():
    critic, _ = make("qwen2", "sdpa")
    ids = ids_of(2, 11)
    mask = (torch.arange(11) < torch.tensor([[11], [6]])).long()
    gradients = []
    for checkpointing in (False, True):
        model = copy.deepcopy(critic).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.is_gradient_checkpointing
        output = model(ids, attention_mask=mask, tag_ids=torch.tensor([4, 7]))
        (output.label_logits.square().sum() + output.tag_logits.sum()).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
        assert all(gradient is not None for gradient in gradients[-1])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


CALLS = []


def flash_like(module, query, key, value, attention_mask, position_ids=None, scaling=None, **kwargs):
    """What a Flash kernel does with what it is given: [B, H, L, D]; 2-D padding masks; documents from position_ids, in
    a batch of one row only; direction from the flag."""
    is_causal = kwargs.get("is_causal")
    is_causal = module.is_causal if is_causal is None else is_causal
    CALLS.append({"layer": module.layer_idx, "is_causal": is_causal, "rows": len(query), "mask": attention_mask})
    batch, heads, length = query.shape[:3]
    allowed = torch.ones(batch, 1, length, length, dtype=torch.bool)
    if is_causal:
        allowed = allowed.tril()
    if attention_mask is not None:
        assert attention_mask.ndim == 2
        allowed = allowed & attention_mask.bool()[:, None, None, :]
    elif position_ids is not None and batch == 1:
        document = (position_ids == 0).cumsum(-1)
        allowed = allowed & (document[:, None, :, None] == document[:, None, None, :])
    key, value = (states.repeat_interleave(heads // states.shape[1], 1) for states in (key, value))
    output = scaled_dot_product_attention(query, key, value, attn_mask=allowed, scale=scaling)
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register("flash_like", flash_like)
AttentionMaskInterface.register("flash_like", flash_attention_mask)


@pytest.fixture(params=CONFIGS)
def flash_critic(request):
    CALLS.clear()
    critic, plain = make(request.param, "sdpa")
    critic.config._attn_implementation = "flash_like"
    return critic, plain


def test_flash_kernels_are_told_each_layers_direction(flash_critic):
    critic, plain = flash_critic
    ids = ids_of(2, 13)
    torch.testing.assert_close(hidden(critic, ids), by_hand(plain, ids, torch.ones_like(ids)), atol=5e-5, rtol=0)
    assert [(call["layer"], call["is_causal"]) for call in CALLS] == [(0, True), (1, True), (2, False), (3, False)]
    assert all(call["mask"] is None for call in CALLS)


def test_flash_kernels_get_the_padding(flash_critic):
    critic, plain = flash_critic
    ids = ids_of(2, 13)
    mask = (torch.arange(13) < torch.tensor([[13], [5]])).long()
    found = hidden(critic, ids, attention_mask=mask)
    torch.testing.assert_close(found[mask.bool()], by_hand(plain, ids, mask)[mask.bool()], atol=5e-5, rtol=0)
    assert all(call["mask"].tolist() == mask.tolist() for call in CALLS)


def test_flash_kernels_get_packed_rows_as_one_row(flash_critic):
    critic, _ = flash_critic
    ids = ids_of(2, 20)
    positions = torch.stack([torch.cat([torch.arange(n) for n in row]) for row in ([7, 13], [1, 19])])
    packed = critic(ids, position_ids=positions, tag_ids=torch.tensor([1, 2]))
    assert [call["rows"] for call in CALLS] == [1] * 4
    assert packed.hidden.shape == (2, 20, 32) and packed.label_logits.shape == (2, 20, 4)
    critic.config._attn_implementation = "sdpa"
    torch.testing.assert_close(packed.hidden, critic(ids, position_ids=positions).hidden, atol=5e-5, rtol=0)


def test_what_is_supported():
    critic, plain = make("llama", "sdpa")
    assert is_supported(critic.model) and is_supported(plain.model)
    assert not is_supported(torch.nn.Linear(2, 2))
    sliding = AutoModelForCausalLM.from_config(MistralConfig(**SIZES, sliding_window=8))
    sliding.model.config.layer_types = ["sliding_attention"] * 4
    assert not is_supported(sliding.model)
