"""Products in every precision against the exact one."""

import pytest
import torch

from cprs_core.linear import Dense, DynamicInt8, Float8, Int8, _largest_state


def draw(outliers):
    """States whose rows differ a hundredfold in size, as those of language models do; weights; a bias."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*size, generator=generator) for size in ((37, 64), (48, 64), (48,)))
    return x * torch.logspace(-1, 1, len(x))[:, None] * (1 + outliers * (torch.arange(64) == 3)), weight, bias


@pytest.mark.parametrize("outliers", [0, 20])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize(("kind", "error"), [(Dense, 1e-6), (Int8, 0.01), (DynamicInt8, 0.02)])
def test_a_product_is_right_in_every_row(kind, error, has_bias, outliers):
    x, weight, bias = draw(outliers)
    linear = kind(weight, bias if has_bias else None)
    exact = x.double() @ weight.double().T + (bias.double() if has_bias else 0)
    found = linear(linear.encode(x))
    assert found.dtype == torch.float32
    off = (found - exact).norm(dim=-1) / exact.norm(dim=-1)
    if kind is DynamicInt8:
        error *= (3 if outliers else 1) * 127 / _largest_state()
    assert off.max() < error
    assert kind is Dense or off.max() > 1e-4  # it did round


@pytest.mark.parametrize("largest", [63, None])
def test_sums_of_8_bits_do_not_overflow(monkeypatch, largest):
    """As they would where products are added in 16 bits, if states took all 8."""
    if largest:
        monkeypatch.setattr("cprs_core.linear._largest_state", lambda: largest)
    x, weight = torch.ones(16, 128), torch.ones(32, 128)
    linear = DynamicInt8(weight, None)
    torch.testing.assert_close(linear(linear.encode(x)), torch.full((16, 32), 128.0))
    torch.testing.assert_close(linear(linear.encode(-x)), torch.full((16, 32), -128.0))


@pytest.mark.parametrize("encode", [Float8.encode, DynamicInt8.encode])
def test_encoded_states_stand_for_the_states(encode):
    x, _, _ = draw(0)
    x[5] = 0
    values, scales = encode(x)
    shift = _largest_state() + 1 if values.dtype == torch.uint8 else 0
    back = (values.float() - shift) * scales
    assert values.element_size() == 1 and scales.shape == (len(x), 1)
    assert (back - x).abs().max() <= 0.07 * x.abs().max() and not back[5].any()
    assert ((back - x).norm(dim=-1) <= 0.04 * x.norm(dim=-1)).all()
