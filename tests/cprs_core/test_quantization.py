"""Four-bit weights: exact bytes, bounded errors, and training that sees what will be shipped."""

import copy
import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from cprs_core import quantization as q
from cprs_core.loading import load, load_model


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([(32,), (3, 64), (2, 2, 32)]), st.sampled_from([1e-3, 1.0, 300.0]))
def test_values_and_errors_of_a_group(seed, shape, size):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * size
    values, scale = q.quantize(weight)
    assert values.dtype == torch.int8 and scale.dtype == torch.float16
    assert values.shape == weight.shape and scale.shape == (*shape[:-1], shape[-1] // 32)
    assert values.min() >= -8 and values.max() <= 7
    back = q.dequantize(values, scale)
    groups, found = weight.view(-1, 32), back.view(-1, 32)
    for group, restored, step in zip(groups, found, scale.float().abs().flatten(), strict=True):
        at = group.abs().argmax()
        torch.testing.assert_close(restored[at], group[at], rtol=2e-3, atol=1e-6)
        error = (group - restored).abs()
        clipped = group * -group[at].sign() > 7 * step  # the narrow side ends at 7
        assert (error[~clipped] <= 0.51 * step).all()
        assert (error <= 1.01 * step).all()


def test_zeros_stay_zero():
    values, scale = q.quantize(torch.zeros(2, 32))
    assert not values.any() and not q.dequantize(values, scale).any()


@given(st.lists(st.integers(-8, 7), min_size=2, max_size=40).filter(lambda x: len(x) % 2 == 0))
def test_pack_and_unpack(numbers):
    values = torch.tensor(numbers, dtype=torch.int8)
    packed = q.pack(values)
    assert packed.dtype == torch.uint8 and len(packed) == len(values) // 2
    assert packed.tolist() == [(low + 8) | (high + 8) << 4 for low, high in zip(numbers[::2], numbers[1::2], strict=True)]
    assert q.unpack(packed).tolist() == numbers


def test_what_is_quantised(tiny_model):
    names = q.quantizable(tiny_model)
    assert "model.embed_tokens.weight" in names and "model.layers.27.mlp.down_proj.weight" in names
    assert len(names) == 1 + 28 * 7
    assert not [name for name in names if "norm" in name or "head" in name or "bias" in name]


@pytest.fixture(scope="module")
def packed_path(tiny_model, tiny_path, tmp_path_factory):
    """The tiny checkpoint in the form that the default model ships in."""
    folder = tmp_path_factory.mktemp("packed")
    shutil.copytree(tiny_path, folder, dirs_exist_ok=True)
    save_file(q.pack_state(tiny_model.state_dict(), q.quantizable(tiny_model)), folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config |= {"cprs_quantization": {"bits": 4, "group": 32}, "window_size": 256, "decision_thresholds": {"sentence": 0.4}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_packed_checkpoint_is_small_and_loads(tiny_model, packed_path, tiny_path):
    assert (packed_path / "model.safetensors").stat().st_size < 0.35 * (tiny_path / "model.safetensors").stat().st_size
    loaded = load(packed_path, device="cpu")
    assert (loaded.window_size, loaded.thresholds, loaded.has_tags) == (256, {"sentence": 0.4}, True)
    state, names = load_model(packed_path, device="cpu", dtype="float32").state_dict(), set(q.quantizable(tiny_model))
    for name, weight in tiny_model.state_dict().items():
        expected = q.dequantize(*q.quantize(weight)) if name in names else weight.half().float()
        torch.testing.assert_close(state[name], expected, rtol=0, atol=0)


def test_a_packed_checkpoint_loads_in_half_precision(packed_path):
    model = load_model(packed_path, device="cpu", dtype="bfloat16")
    assert model.model.embed_tokens.weight.dtype == torch.bfloat16
    assert torch.isfinite(model(torch.arange(9).view(1, 9)).label_logits).all()


def test_unpack_is_the_inverse_of_pack_state(packed_path):
    packed = load_file(packed_path / "model.safetensors")
    again = q.pack_state(q.unpack_state(packed), [name[:-5] for name in packed if name.endswith(".int4")])
    assert again.keys() == packed.keys()
    for name, tensor in packed.items():
        assert torch.equal(again[name], tensor), name


def test_training_sees_the_rounded_weights_and_moves_the_unrounded(tiny_model):
    model = copy.deepcopy(tiny_model).requires_grad_(True)
    names, before = list(model.state_dict()), copy.deepcopy(model.state_dict())
    rounded = copy.deepcopy(tiny_model)
    state = rounded.state_dict()
    for name in q.quantizable(rounded):
        state[name].copy_(q.dequantize(*q.quantize(state[name])))
    ids = torch.arange(24).view(2, 12)
    plain = model(ids).label_logits.detach()
    q.prepare_training(model)
    assert list(model.state_dict()) == names
    found = model(ids).label_logits
    torch.testing.assert_close(found.detach(), rounded(ids).label_logits, atol=1e-3, rtol=0)
    assert (found.detach() - plain).abs().max() > 0.1
    found.square().sum().backward()
    for name in q.quantizable(model):
        gradient = model.get_parameter(name).grad
        assert gradient is not None and gradient.any(), name
    q.finish_training(model)
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in names)
    torch.testing.assert_close(model(ids).label_logits, plain)
    assert type(model.model.embed_tokens) is torch.nn.Embedding


def test_gradients_pass_straight_through():
    layer = torch.nn.ModuleDict({"model": torch.nn.ModuleDict({"x": torch.nn.Linear(32, 4, bias=False)})})
    q.prepare_training(layer)
    inputs = torch.randn(5, 32)
    layer["model"]["x"](inputs).sum().backward()
    torch.testing.assert_close(layer["model"]["x"].weight.grad, inputs.sum(0).expand(4, 32))
