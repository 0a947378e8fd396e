"""Whole networks on a chip's integers: against torch's own quantised layers, and against the network itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cannon_fx import Chip, MappingError, apply_cannon, plan, quantised
from cannon_fx.quantise.layers import ChipLayer, Grid, weight_codes


def chip(adc_bits: int | None, weight_bits: int = 8, activation_bits: int = 8) -> Chip:
    """demo-32nm with other bits; without [compute] for None."""
    data = Chip.load("demo-32nm").dump()
    data["precision"] |= {"weight_bits": weight_bits, "activation_bits": activation_bits}
    if adc_bits is None:
        del data["compute"]
    else:
        data["compute"]["adc"]["bits"] = adc_bits
    return Chip.parse_data(data, "test")


def layers(model: nn.Module) -> dict[str, ChipLayer]:
    return {name: module for name, module in model.named_modules() if isinstance(module, ChipLayer)}


@pytest.mark.filterwarnings("ignore:torch.quantize_per")
@pytest.mark.parametrize("adc_bits", [None, 8])
def test_eight_bits_are_torchs_quantised_linear(adc_bits: int | None) -> None:
    """The same integers, scales and zero point as torch.ops.quantized.linear, whose output is rounded to 8 bits."""
    torch.manual_seed(0)
    linear = nn.Linear(40, 20)
    x = torch.randn(64, 40)
    model = nn.Sequential(linear)
    found = quantised(model, plan(model, x, chip=chip(adc_bits), group_size=4), x)
    (layer,) = layers(found).values()
    assert layer.grid is not None
    weight = torch.quantize_per_channel(
        linear.weight.detach(), layer.scale, torch.zeros(20, dtype=torch.int64), 0, torch.qint8
    )
    codes, _ = weight_codes(linear.weight.detach(), 8)
    assert torch.equal(weight.int_repr().long(), codes)
    inputs = torch.quantize_per_tensor(x, layer.grid.scale, layer.grid.zero, torch.quint8)
    assert torch.equal(inputs.int_repr().long(), layer.grid(x))
    y = found(x)
    step = float(y.detach().max() - y.detach().min()) / 255
    packed = torch.ops.quantized.linear_prepack(weight, linear.bias.detach())
    theirs = torch.ops.quantized.linear(inputs, packed, step, round(-float(y.min()) / step))
    assert (theirs.dequantize() - y).abs().max() <= step / 2 * 1.001


@pytest.mark.parametrize("applied", [False, True])
def test_wide_numbers_give_the_network_itself(
    applied: bool, make_network: Callable[[], nn.Module], image: Tensor
) -> None:
    """16 bits each and lossless sums; strided, padded and concatenated layers, with connections cut."""
    model, wide = make_network().eval(), chip(None, 16, 16)
    if applied:
        found = apply_cannon(model, image, chip=wide, group_size=4)
        for module in found.modules.values():
            module.cut(torch.rand(module.pattern.keep.shape) < 0.7)
    else:
        found = plan(model, image, chip=wide, group_size=4)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        expected, got = model(image), quantised(model, found, image)(image)
    assert (got - expected).abs().max() < 2e-3 * expected.abs().max()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular"])
def test_convolutions_of_every_geometry(mode: str) -> None:
    torch.manual_seed(1)
    conv = nn.Conv2d(5, 12, (3, 2), (2, 1), (1, 2), (1, 2), padding_mode=mode)
    model, x = nn.Sequential(conv, nn.ReLU()), torch.randn(3, 5, 9, 7)
    found = quantised(model, plan(model, x, chip=chip(None, 16, 16), group_size=2), x)
    with torch.no_grad():
        assert torch.allclose(found(x), model(x), atol=1e-3)


def test_fewer_bits_err_more(make_network: Callable[[], nn.Module], image: Tensor) -> None:
    model = make_network().eval()
    with torch.no_grad():
        expected = model(image)
        errors = [
            float((quantised(model, plan(model, image, chip=c, group_size=4), image)(image) - expected).norm())
            for c in (chip(8), chip(4), chip(2), chip(1))
        ]
    assert errors == sorted(errors)
    assert errors[0] < 0.05 * float(expected.norm())


def test_cut_connections_drive_no_rows() -> None:
    """Weights that lie where nothing is kept do not count, as little as what they are multiplied with."""
    torch.manual_seed(2)
    model, x = nn.Sequential(nn.Linear(16, 8)), torch.rand(4, 16)
    found = plan(model, x, chip=chip(4), group_size=4)
    keep = {"0": np.array([[True, False, True, False]])}
    noisy = torch.where(torch.arange(16) // 4 % 2 == 1, 100 * torch.rand(4, 16), x)
    chip_model = quantised(model, found, x, keep)
    assert torch.equal(chip_model(x), chip_model(noisy))


def test_attention_has_rounded_weights() -> None:
    """Attention reads its projection's weight itself: what its cells can hold, the rest as before."""
    torch.manual_seed(3)
    model, x = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True).eval(), torch.randn(2, 5, 16)
    found = plan(model, x, chip=chip(8), group_size=4)
    assert [layer.name for layer in found.layers if not layer.called] == ["self_attn.out_proj"]
    other = quantised(model, found, x)
    weight: Any = other.get_submodule("self_attn.out_proj").weight
    codes, scale = weight_codes(model.self_attn.out_proj.weight.detach(), 8)
    assert torch.allclose(weight.double(), codes * scale[:, None])
    assert not torch.equal(weight, model.self_attn.out_proj.weight)
    assert set(layers(other)) == {"linear1", "linear2"}
    with torch.no_grad():  # where torch would compute all of it in one fused op
        one_level = quantised(model, plan(model, x, chip=chip(1), group_size=4), x)
        assert not torch.allclose(one_level(x), other(x), atol=0.1)


def test_a_model_may_be_one_layer() -> None:
    torch.manual_seed(4)
    model, x = nn.Linear(40, 20), torch.randn(8, 40)
    other = nn.Sequential(model)
    one, several = (quantised(m, plan(m, x, chip=chip(4), group_size=4), x) for m in (model, other))
    assert torch.equal(one(x), several(x))
    assert type(model) is nn.Linear


def test_zero_stays_zero_and_what_is_outside_becomes_the_border() -> None:
    grid = Grid.of(torch.tensor([-1.0, 0.3, 3.0]), 4)
    assert grid(torch.tensor([0.0, -1.0, 3.0, -9.0, 9.0])).tolist() == [grid.zero, 0, 15, 0, 15]
    assert Grid.of(torch.zeros(3), 4)(torch.zeros(2)).tolist() == [0, 0]


def test_a_sign_takes_a_bit(image: Tensor, network: nn.Module) -> None:
    with pytest.raises(MappingError, match="no sign"):
        quantised(network, plan(network, image, chip=chip(4, weight_bits=1), group_size=4), image)
