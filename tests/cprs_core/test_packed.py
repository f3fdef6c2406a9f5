"""The packed pass against the base model's own, window by window."""

import numpy as np
import pytest
import torch
from fakes import SIZES
from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from cprs_core.linear import Dense, padded
from cprs_core.model import critic_class
from cprs_core.packed import PackedDecoder, Prefixes
from cprs_core.shape import FAMILIES, Shape

KINDS = {
    "qwen2": (Qwen2Config, {}),
    "qwen3": (Qwen3Config, {"attention_bias": True}),
    "llama": (LlamaConfig, {"attention_bias": True, "mlp_bias": True}),
    "llama with scaled positions": (
        LlamaConfig,
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0}},
    ),
    "mistral": (MistralConfig, {"sliding_window": None}),
}


def make(kind="llama", border=2):
    torch.manual_seed(0)
    config_class, fields = KINDS[kind]
    config = config_class(**SIZES, **fields, first_bidirectional_layer=border)
    model = critic_class(config_class)(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # norms are all ones, and biases zero, before training
            parameter.normal_(1, 0.3)
    return model


def packed(model, linear=Dense):
    return PackedDecoder(Shape.of(model.config.to_dict()), model.state_dict().get, linear)


def draw(*lengths, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 60, n).astype(np.int32) for n in lengths]


def own_way(model, prefix, ids):
    row = torch.from_numpy(np.concatenate([prefix, ids])).long()[None]
    return model(row).hidden[0, len(prefix) :]


@pytest.mark.parametrize("border", [0, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_as_if_each_were_alone(kind, border):
    model = make(kind, border)
    prefixes, windows, which = draw(7, 3, seed=2), draw(20, 1, 33, 5, 20), [0, 1, 1, 0, 0]
    expected = torch.cat([own_way(model, prefixes[i], ids) for ids, i in zip(windows, which, strict=True)])
    decoder = packed(model)
    with torch.inference_mode():
        found = decoder.states(windows, which, Prefixes(prefixes))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (found - expected.roll(1, 0)).abs().max() > 0.1


def test_rows_that_are_filled_up_change_nothing(monkeypatch):
    """As in 16 bits on CPUs, but in 32, where it would show."""
    model = make(border=1)
    decoder = packed(model)
    prefixes, windows = draw(7, seed=2), draw(20, 1, 33)

    def filled(x):
        return torch.cat([x, torch.full((16 - len(x) % 16, *x.shape[1:]), 3.0)])

    with torch.inference_mode():
        expected = decoder.states(windows, [0] * 3, Prefixes(prefixes))
        monkeypatch.setattr("cprs_core.packed.padded", filled)
        monkeypatch.setattr("cprs_core.linear.padded", filled)
        monkeypatch.setattr("cprs_core.steps.padded", filled)
        shared = Prefixes(prefixes)
        found, again = (decoder.states(windows, [0] * 3, shared) for _ in range(2))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "few"), [(torch.bfloat16, True), (torch.float16, True), (torch.float32, False)])
def test_rows_come_in_few_lengths_where_kernels_are_kept_for_each(dtype, few):
    lengths = set()
    for length in range(1, 3000):
        longer = padded(x := torch.ones(length, 2, dtype=dtype))
        assert len(longer) >= length and torch.equal(longer[:length], x) and len(longer) - length < 64
        lengths.add(len(longer))
    assert (len(lengths) < 64) == few


@pytest.mark.parametrize("border", [0, 2, 4])
def test_prefixes_are_run_along_with_a_batch_and_serve_the_others(border):
    model = make(border=border)
    prefixes, shared = draw(6, 3, seed=2), Prefixes(draw(6, 3, seed=2))
    decoder = packed(model)
    with torch.inference_mode():
        for windows, which in ((draw(9, 4, seed=3), [0, 0]), (draw(17, 5, 8, seed=4), [1, 0, 1]), (draw(2, seed=5), [0])):
            expected = torch.cat([own_way(model, prefixes[i], ids) for ids, i in zip(windows, which, strict=True)])
            torch.testing.assert_close(decoder.states(windows, which, shared), expected, atol=1e-4, rtol=0)


def test_no_token_runs_twice_in_the_causal_layers(monkeypatch):
    decoder = packed(make())
    rows, shared = [], Prefixes(draw(7, seed=2))
    linear = torch.nn.functional.linear
    monkeypatch.setattr("cprs_core.linear.F.linear", lambda x, *weights: rows.append(len(x)) or linear(x, *weights))
    for first in (7, 0):
        rows.clear()
        decoder.states(draw(20, 30), [0, 0], shared)
        assert rows == [first + 50] * 8 + [64] * 8  # four products in each of two layers


def test_the_families_are_those_tested():
    assert {config_class.model_type for config_class, _ in KINDS.values()} == FAMILIES
