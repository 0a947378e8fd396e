"""The CIFAR networks: shapes, sizes as published, and that every layer finds its tiles."""

from __future__ import annotations

import pytest
import torch

from cannon_fx import networks_cifar, plan

PARAMETERS = {
    "resnet20": 269_722,  # the papers: 0.27 M
    "resnet56": 853_018,  # 0.85 M
    "resnet18": 11_173_962,  # 11.17 M
    "vgg16_bn": 14_724_042,  # 14.72 M
    "densenet40": 1_019_722,  # 1.0 M
    "mobilenet_v2": 2_237_770,  # 2.24 M with ten classes
    "vit_small": 2_693_194,
    "vgg16_quarter": 923_130,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_size_and_shape(name: str) -> None:
    network = getattr(networks_cifar, name)().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_padded_shortcuts_pass_every_second_pixel_between_zero_channels() -> None:
    block = networks_cifar.PaddedBlock(4, 8, 2).eval()
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 4, 6, 6)
    y = block(x)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert (y[:, :2] == 0).all()
    assert (y[:, 6:] == 0).all()


def test_all_of_resnet20_is_mapped() -> None:
    found = plan(networks_cifar.resnet20(), torch.zeros(1, 3, 32, 32))
    assert len(found.layers) == 20
    assert not found.unmapped
    assert not found.fallback_ops
