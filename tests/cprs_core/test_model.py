"""The critic's two heads, and what makes a model no critic."""

import pytest
import torch
from transformers import BertConfig, LlamaConfig, Qwen2Config

from cprs_core.errors import ModelLoadError
from cprs_core.model import LABELS, critic_class

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def make(config_class=Qwen2Config, **fields):
    torch.manual_seed(0)
    config = config_class(**{**SMALL, "first_bidirectional_layer": 1, **fields})
    return critic_class(config_class)(config).eval()


def test_the_class_is_named_after_its_base():
    assert critic_class(Qwen2Config).__name__ == "Qwen2ForTokenCritic"
    assert critic_class(LlamaConfig) is critic_class(LlamaConfig)
    assert LABELS == ("B", "I", "O", "E")


def test_a_config_without_a_causal_model_is_refused():
    with pytest.raises(ModelLoadError, match="BertConfigX has no causal language model"):
        critic_class(type("BertConfigX", (BertConfig,), {}))


@pytest.mark.parametrize("border", [None, -1, 3, "1", 1.0])
def test_the_border_must_be_a_layer(border):
    with pytest.raises(ModelLoadError, match="first_bidirectional_layer must be 0 to 2"):
        make(first_bidirectional_layer=border)


def test_sliding_windows_are_refused():
    with pytest.raises(ModelLoadError, match="full self-attention in every layer"):
        make(use_sliding_window=True, sliding_window=4, max_window_layers=0)


@pytest.mark.parametrize("tied", [False, True])
def test_tag_logits_are_columns_of_the_full_product(tied):
    model = make(tie_word_embeddings=tied)
    ids = torch.arange(12).view(2, 6)
    with torch.no_grad():
        output = model(ids, tag_ids=torch.tensor([7, 3, 40]))
        full = model.lm_head(output.hidden)
    torch.testing.assert_close(output.tag_logits, full[..., [7, 3, 40]])
    torch.testing.assert_close(output.label_logits, model.cls_head(output.hidden))


def test_tags_may_differ_from_row_to_row_and_be_filled_up():
    model = make()
    ids = torch.arange(12).view(2, 6)
    with torch.no_grad():
        both = model(ids, tag_ids=torch.tensor([[7, 3, 9], [4, 9, -1]])).tag_logits
        torch.testing.assert_close(both[0], model(ids, tag_ids=torch.tensor([7, 3, 9])).tag_logits[0])
        torch.testing.assert_close(both[1, :, :2], model(ids, tag_ids=torch.tensor([4, 9])).tag_logits[1])


def test_without_tags_there_are_no_tag_logits():
    assert make()(torch.arange(4).view(1, 4)).tag_logits is None


def test_an_offloaded_lm_head_is_called_rather_than_read():
    model = make()
    ids = torch.arange(12).view(2, 6)
    tags = torch.tensor([[7, 3], [4, 9]])
    expected = model(ids, tag_ids=tags).tag_logits
    weight = model.lm_head.weight

    def bring_in(module, args):
        module.weight = weight

    model.lm_head.weight = torch.nn.Parameter(weight.to("meta"))
    model.lm_head.register_forward_pre_hook(bring_in)
    torch.testing.assert_close(model(ids, tag_ids=tags).tag_logits, expected)
    model.lm_head.weight = torch.nn.Parameter(weight.to("meta"))
    torch.testing.assert_close(model(ids, tag_ids=tags[0]).tag_logits[0], expected[0])
